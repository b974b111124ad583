"""Docker's health check: exit 0 when the service in this container says that it is ready."""

import http.client
import os
import sys

TIMEOUT_SECONDS = 4.0  # below the timeout of the image's HEALTHCHECK, so that the reason is shown


def main() -> int:
    """Ask /health/ready and pass its answer on; `docker inspect` shows it."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PROBE_PORT"]), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        print(response.status, response.read(4096).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer: {error}")
        return 1
    return 0 if response.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())

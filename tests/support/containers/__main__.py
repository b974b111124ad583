"""Have an engine, Compose and the base images, and print the environment that deploy/ builds with.

PYTHONPATH=tests python -m support.containers > .env.offline
docker compose --env-file .env.offline -f deploy/docker-compose.yml up --build
"""

import sys
from contextlib import redirect_stdout

from support.containers.commands import ContainersUnavailable
from support.containers.debian import ensure_compose
from support.containers.engine import engine
from support.containers.images import base_images


def main() -> int:
    """Leave the engine running: it was asked for by hand."""
    try:
        with redirect_stdout(sys.stderr), engine(keep=True):
            ensure_compose()
            images = base_images()
    except ContainersUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    for variable, image in images.items():
        print(f"{variable}={image}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The process: builds the objects and runs them."""


def main() -> None:
    """Run the program until it is told to stop."""
    raise SystemExit("not built yet")

"""`python -m bridge` is `busbridge`."""

from bridge.cli import main

if __name__ == "__main__":
    main()

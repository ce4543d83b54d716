"""`python -m ravn` is `ravn`."""

from ravn.cli.app import main

if __name__ == "__main__":
    main()

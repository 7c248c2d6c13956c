"""`python -m lens_steer` is the command `lens-steer`."""

from lens_steer.cli import main

if __name__ == "__main__":
    main()

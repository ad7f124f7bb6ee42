"""`python -m cli`, the same as `mesh`."""

from cli.main import main

if __name__ == "__main__":
    main()

"""``python -m ferrio``; see ``ferrio.program``."""

from ferrio.program import main

if __name__ == "__main__":
    main()

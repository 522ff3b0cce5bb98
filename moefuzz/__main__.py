"""``python -m moefuzz`` is the command ``moefuzz``."""

from moefuzz.harness.__main__ import main

if __name__ == "__main__":
    main()

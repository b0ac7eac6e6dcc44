"""Upgrade the database of the settings: `python -m migrations`; with a MESSAGE, also write a new migration."""

import sys

import migrations
from service.settings import from_environment


def main() -> None:
    """Upgrade the database, and write a migration if a message is given."""
    settings = from_environment()
    settings.data.mkdir(parents=True, exist_ok=True)
    migrations.upgrade(settings.database)
    if len(sys.argv) > 1:
        migrations.revise(settings.database, " ".join(sys.argv[1:]))


if __name__ == "__main__":
    main()

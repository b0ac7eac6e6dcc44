"""Upgrade the database of the settings: `python -m migrations`; with a MESSAGE, also write a new migration."""

import sys

import migrations
from service import startup
from service.settings import from_environment


def main() -> None:
    """Upgrade the database, and write a migration if a message is given."""
    settings = from_environment()
    startup.warn_of_misspelled_settings()
    with startup.ending_when_impossible():
        startup.upgrade_database(settings)
    if len(sys.argv) > 1:
        migrations.revise(settings.database, " ".join(sys.argv[1:]))


if __name__ == "__main__":
    main()

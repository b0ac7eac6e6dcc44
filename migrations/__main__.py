"""`python -m migrations` upgrades the database of the settings; with a MESSAGE it also writes a new step."""

import sys

import migrations
from service.settings import from_environment


def main() -> None:
    """Do what the command line says."""
    settings = from_environment()
    settings.data.mkdir(parents=True, exist_ok=True)
    migrations.upgrade(settings.database)
    if len(sys.argv) > 1:
        migrations.revise(settings.database, " ".join(sys.argv[1:]))


if __name__ == "__main__":
    main()

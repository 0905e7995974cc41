"""``maintain.py install-cron``: have cron or a systemd timer of this machine call ``maintain``."""

from tasks.schedule.entry import Entry, program_of
from tasks.schedule.install import install_schedule, remove_schedule
from tasks.schedule.places import Places, places_of_this_user

__all__ = [
    "Entry",
    "Places",
    "install_schedule",
    "places_of_this_user",
    "program_of",
    "remove_schedule",
]

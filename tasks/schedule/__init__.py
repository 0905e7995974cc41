"""``maintain.py install-cron``: have cron or a systemd timer of this machine call ``maintain``."""

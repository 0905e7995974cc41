"""Certificates: how many days they have left, and new ones for those that are ours."""

from __future__ import annotations

from tasks.maintenance.certificates.task import PHASE, renew_certificates

__all__ = ["PHASE", "renew_certificates"]

"""Choices of settings that have names."""

from enum import StrEnum

__all__ = ["ProcessingGuarantee"]


class ProcessingGuarantee(StrEnum):
    """What the setting ``processing_guarantee`` can be; the texts themselves do as well."""

    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"

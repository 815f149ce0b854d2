"""What can go wrong with a warehouse or with a source, each said with the next step.

WarehouseError
├── SourceError      a log that cannot be read: missing, broken, without a url column
├── UnknownRelease   a release of that name was never published here
├── NameTaken        a release of that name exists with another content
└── LedgerError      a run that cannot account for every candidate
"""


class WarehouseError(Exception):
    """A warehouse cannot do what was asked; the message says what to do next."""


class SourceError(WarehouseError):
    """A source cannot be read as a log of candidates."""


class UnknownRelease(WarehouseError):
    """No release of that name."""


class NameTaken(WarehouseError):
    """Release names are unique and a published release never changes."""


class LedgerError(WarehouseError):
    """kept + rejected + quarantined is not the number of candidates."""

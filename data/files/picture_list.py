"""The interface through which inspection, cache and decoding read picture files, wherever the files are stored."""

from typing import Protocol

from semppl.data.files.label_file import Row


class PictureList(Protocol):
    """Picture files in a fixed order, with label, identity and mask: those in a folder or in TFRecord files."""

    @property
    def place(self) -> str:
        """Folder or pattern that names the list, for messages and cache keys."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Name of each picture, unique in the list."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Label, identity and mask of each picture."""

    @property
    def rows_without_file(self) -> tuple[str, ...]:
        """Paths in the label file for which there is no picture."""

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Files and folders that cannot be opened, each with the reason."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is left out or looks like a mistake, in words."""

    def read(self, number: int) -> bytes:
        """Returns the bytes of a picture file."""

    def mask(self, number: int) -> bytes:
        """Returns the bytes of the file of a picture's mask; empty if there is none."""

    def state(self) -> str:
        """Returns a string that changes when a file changes."""

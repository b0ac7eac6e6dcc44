"""Multipart forms, as curl -F and web pages send them: files are streamed, short fields are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from service.types import Text
from service.uploads.errors import FormMalformed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

MAX_HEADER_BYTES = 8192
NAME = TypeAdapter(Text)


@dataclass(frozen=True)
class FormShape:
    """Shape of a form: the fields and files that it may hold."""

    how: str
    """How to send one, for errors."""
    fields: Mapping[str, int]
    """Fields of text, with the most bytes of each."""
    files: tuple[str, ...] = ("file",)
    """Names of its files."""
    is_file_required: bool = True
    """Whether the first file must be there. Then one of another name counts as it: people write -F model=@model.onnx"""
    several: str = "The form holds several files."
    """The error if a file is there twice."""
    is_open: bool = False
    """Whether it may hold any number of files under any names; their names in `file_names` are then 0, 1, 2, …"""

    @property
    def takes(self) -> str:
        """Its files and fields, in words."""
        files = "any files" if self.is_open else f"the file{'s' * (len(self.files) > 1)} {' and '.join(self.files)}"
        return f"{files} and the field{'s' * (len(self.fields) > 1)} {', '.join(self.fields)}"


class Form:
    """Reader of one form."""

    def __init__(self, content_type: str, shape: FormShape) -> None:
        """Read the boundary of the parts from the content type. Raises FormMalformed."""
        from python_multipart import exceptions, multipart  # only where a form is sent

        self._shape = shape
        self._parse_options, self._error = multipart.parse_options_header, exceptions.FormParserError
        boundary = self._parse_options(content_type)[1].get(b"boundary")
        if not boundary:
            raise FormMalformed(f"The form's content type names no boundary; let the client set it, {shape.how}")
        self._parser = multipart.MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header_field,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._start_content,
                "on_part_data": self._add_content,
                "on_end": self._end,
            },
        )
        self._header_field, self._header_value = bytearray(), bytearray()
        self._disposition = b""
        self._has_ended = False
        self._file: str | None = None
        """The file that the parser is in; None in a field."""
        self._text = bytearray()
        self._texts: dict[str, bytearray] = {}
        self._limit = 0
        self._blocks: list[tuple[str, bytes]] = []
        self._given: dict[str, str] = {}  # the names that the form has for its files
        self.file_names: dict[str, str] = {}
        """Each file that the form holds, with its name on the sender's machine."""
        self.fields: dict[str, str] = {}
        """The fields, once the form has been read."""

    async def read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
        """Read the bytes of files out of the form's, each block with the name of its file. Raises FormMalformed."""
        async for chunk in chunks:
            try:
                self._parser.write(chunk)
            except self._error as error:
                raise FormMalformed(f"The form cannot be read ({error}); send it again, {self._shape.how}") from None
            for block in self._blocks:
                yield block
            self._blocks.clear()
        if not self._has_ended:
            raise FormMalformed("The form ends too early. Send it again.")
        if self._shape.is_file_required and self._shape.files[0] not in self.file_names:
            raise FormMalformed(f"The form holds no file; send one, {self._shape.how}")
        for name, text in self._texts.items():
            try:
                self.fields[name] = text.decode()
            except UnicodeDecodeError:
                raise FormMalformed(f"The form's field {name} must be text in UTF-8.") from None

    def _begin_part(self) -> None:
        self._disposition = b""

    def _add_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_field += data[start:end]
        self._check_header()

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header_field) + len(self._header_value) > MAX_HEADER_BYTES:
            raise FormMalformed(f"A header of the form has more than {MAX_HEADER_BYTES} bytes.")

    def _end_header(self) -> None:
        if self._header_field.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_field.clear()
        self._header_value.clear()

    def _start_content(self) -> None:
        _, options = self._parse_options(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")[:100]
        if b"filename" in options and name not in self._shape.fields:
            self._start_file(name, options[b"filename"].decode(errors="replace"))
            return
        if name not in self._shape.fields:
            raise FormMalformed(
                f"The form's field {name!r} is no file and none of its fields. It takes {self._shape.takes}, "
                f"{self._shape.how}"
            )
        if name in self._texts:
            raise FormMalformed(f"The form's field {name} is there twice; send it once.")
        self._file, self._limit = None, self._shape.fields[name]
        self._text = self._texts[name] = bytearray()

    def _start_file(self, name: str, file_name: str) -> None:
        files = self._shape.files
        if self._shape.is_open:
            self._file = str(len(self.file_names))
            self.file_names[self._file] = file_name
            return
        if name not in files and not self._shape.is_file_required:
            raise FormMalformed(
                f"The form's file is called {name!r}; it may hold {' and '.join(files)}, {self._shape.how}"
            )
        self._file = name if name in files else files[0]
        if self._file in self.file_names:
            raise FormMalformed(self._explain_second(name))
        self.file_names[self._file] = file_name
        self._given[self._file] = name

    def _explain_second(self, name: str) -> str:
        """Say which two files of the form would be the same one, and which names would tell them apart."""
        assert self._file is not None
        first = self._given[self._file]
        if first == name:
            return self._shape.several
        known = " and ".join(self._shape.files)
        texts = f", or {', '.join(self._shape.fields)} for text" if self._shape.fields else ""
        return (
            f"Both {first!r} and {name!r} of the form count as its {self._file}. Files are called {known}{texts}. "
            f"{self._shape.several}"
        )

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._blocks.append((self._file, data[start:end]))
            return
        self._text += data[start:end]
        if len(self._text) > self._limit:
            name = next(name for name, text in self._texts.items() if text is self._text)
            raise FormMalformed(f"The form's field {name} is too long; it may have {self._limit} bytes.")

    def _end(self) -> None:
        self._has_ended = True


def parse_name(fields: Mapping[str, str]) -> str:
    """Parse the field `name`; empty without one. Raises FormMalformed."""
    try:
        return NAME.validate_python(fields.get("name", ""))
    except ValidationError:
        raise FormMalformed("The form's field name must be one line of at most 255 characters.") from None

"""The file of a multipart form, as curl -F and web pages send it, streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from service.datasets.errors import FormMalformed
from service.types import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_HEADER_BYTES = 8192
MAX_NAME_BYTES = 1024
NAME = TypeAdapter(Text)
HOW = "as in: curl -F file=@photos.zip URL"


class FormFile:
    """Reader of the one file of a form, which may also have the field `name`, that of the dataset."""

    def __init__(self, content_type: str) -> None:
        """Read the boundary of the parts from the content type. Raises FormMalformed."""
        from python_multipart import exceptions, multipart  # only where a form is sent

        self._parse_options, self._error = multipart.parse_options_header, exceptions.FormParserError
        boundary = self._parse_options(content_type)[1].get(b"boundary")
        if not boundary:
            raise FormMalformed(f"The form's content type names no boundary; let the client set it, {HOW}")
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
        self._field = b""
        self._is_file = self._has_file = self._has_ended = False
        self._name_bytes = bytearray()
        self._blocks: list[bytes] = []
        self.name = ""
        """The field `name`, once the form has been read; empty without one."""

    async def read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Read the file's bytes out of the form's. Raises FormMalformed."""
        async for chunk in chunks:
            try:
                self._parser.write(chunk)
            except self._error as error:
                raise FormMalformed(f"The form cannot be read ({error}); send it again, {HOW}") from None
            for block in self._blocks:
                yield block
            self._blocks.clear()
        if not self._has_ended:
            raise FormMalformed("The form ends too early. Send it again.")
        if not self._has_file:
            raise FormMalformed(f"The form holds no file; send one, {HOW}")
        try:
            self.name = NAME.validate_python(self._name_bytes.decode())
        except (ValidationError, UnicodeDecodeError):
            raise FormMalformed("The form's field name must be one line of at most 255 characters.") from None

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
        self._field, self._is_file = options.get(b"name", b""), b"filename" in options
        if self._is_file and self._has_file:
            raise FormMalformed("The form holds several files. Pack all images in one archive.")
        self._has_file |= self._is_file
        if not self._is_file and self._field != b"name":
            field = self._field.decode(errors="replace")[:100]
            raise FormMalformed(f"The form's field {field!r} is no file and not name; send one file, {HOW}")

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._blocks.append(data[start:end])
            return
        self._name_bytes += data[start:end]
        if len(self._name_bytes) > MAX_NAME_BYTES:
            raise FormMalformed("The form's field name is too long; a name has at most 255 characters.")

    def _end(self) -> None:
        self._has_ended = True

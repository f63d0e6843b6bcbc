from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Packet(_message.Message):
    __slots__ = ("payload", "connect_request", "connect_response", "half_close")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONNECT_REQUEST_FIELD_NUMBER: _ClassVar[int]
    CONNECT_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    HALF_CLOSE_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    connect_request: ConnectRequest
    connect_response: ConnectResponse
    half_close: HalfClose
    def __init__(self, payload: _Optional[bytes] = ..., connect_request: _Optional[_Union[ConnectRequest, _Mapping]] = ..., connect_response: _Optional[_Union[ConnectResponse, _Mapping]] = ..., half_close: _Optional[_Union[HalfClose, _Mapping]] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("host_port",)
    HOST_PORT_FIELD_NUMBER: _ClassVar[int]
    host_port: str
    def __init__(self, host_port: _Optional[str] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("error",)
    ERROR_FIELD_NUMBER: _ClassVar[int]
    error: HTTPError
    def __init__(self, error: _Optional[_Union[HTTPError, _Mapping]] = ...) -> None: ...

class HTTPError(_message.Message):
    __slots__ = ("status_code", "error")
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    status_code: int
    error: str
    def __init__(self, status_code: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class HalfClose(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

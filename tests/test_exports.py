"""The public names of `picows`, their values, signatures and defaults: what programs written for it rely on."""

import enum
import importlib
import inspect

import pytest

import picows

EXCEPTIONS = {
    "WSError": "Exception",
    "WSProtocolError": "WSError",
    "WSInvalidURL": "WSError",
    "WSHandshakeError": "WSError",
    "WSInvalidMessageError": "WSHandshakeError",
    "WSInvalidStatusError": "WSHandshakeError",
    "WSInvalidHeaderError": "WSHandshakeError",
    "WSInvalidUpgradeError": "WSInvalidHeaderError",
}

NAMES = {
    *EXCEPTIONS,
    "HeadLimits",
    "PICOWS_DEBUG_LL",
    "Refusal",
    "ServerHandshakePolicy",
    "WSAutoPingStrategy",
    "WSBroadcastResult",
    "WSCloseCode",
    "WSCloseHandshake",
    "WSCloseInfo",
    "WSFrame",
    "WSListener",
    "WSMsgType",
    "WSParsedURL",
    "WSTransport",
    "WSTransportStats",
    "WSUpgradeRequest",
    "WSUpgradeResponse",
    "WSUpgradeResponseWithListener",
    "__version__",
    "broadcast",
    "check_upgrade_request",
    "ws_connect",
    "ws_create_server",
}

ENUMS = {
    "WSMsgType": {"CONTINUATION": 0, "TEXT": 1, "BINARY": 2, "CLOSE": 8, "PING": 9, "PONG": 10},
    "WSCloseCode": {
        "NO_INFO": 0,
        "OK": 1000,
        "GOING_AWAY": 1001,
        "PROTOCOL_ERROR": 1002,
        "UNSUPPORTED_DATA": 1003,
        "ABNORMAL_CLOSURE": 1006,
        "INVALID_TEXT": 1007,
        "POLICY_VIOLATION": 1008,
        "MESSAGE_TOO_BIG": 1009,
        "MANDATORY_EXTENSION": 1010,
        "INTERNAL_ERROR": 1011,
        "SERVICE_RESTART": 1012,
        "TRY_AGAIN_LATER": 1013,
        "BAD_GATEWAY": 1014,
    },
    "WSAutoPingStrategy": {"PING_WHEN_IDLE": 1, "PING_PERIODICALLY": 2},
}

SHARED_OPTIONS = (
    "disconnect_on_exception=True, websocket_handshake_timeout=5, logger_name=None, enable_auto_ping=False, "
    "auto_ping_idle_timeout={ping}, auto_ping_reply_timeout={ping}, auto_ping_strategy=1, enable_auto_pong=True, "
    "enable_auto_close=True, max_frame_size=10485760, read_buffer_init_size=16384, use_aiofastnet=None, path=None, "
    "strict=False, allowed_rsv=(), validate_utf8=False, coalesce=False, busy_poll=0"
)
CLIENT_OPTIONS = (
    "ssl_context=None, extra_headers=None, max_redirects=5, proxy=None, proxy_ssl_context=None, socket_factory=None, "
    "handshake_limits=None"
)

SIGNATURES = {
    "broadcast": "transports, msg_type, message, *, max_backlog=None",
    "check_upgrade_request": "request",
    "HeadLimits": "max_line_size=8192, max_header_count=128, max_head_size=32768, max_body_size=1048576",
    "WSParsedURL": "url, scheme, is_secure, netloc, host, port, path, query, username=None, password=None",
    "WSProtocolError": "code, message",
    "WSInvalidURL": "url, msg",
    "WSHandshakeError": "description, raw_header=None, raw_body=None, response=None",
    "WSInvalidMessageError": "description, raw_header=None, raw_body=None, response=None",
    "WSInvalidStatusError": "description, raw_header=None, raw_body=None, response=None",
    "WSInvalidHeaderError": "description, name, value=None, raw_header=None, raw_body=None, response=None",
    "WSInvalidUpgradeError": "description, name, value=None, raw_header=None, raw_body=None, response=None",
    "WSUpgradeResponseWithListener": "response, listener",
    "WSBroadcastResult": "sent, skipped, failed",
    "WSTransportStats": "frames_sent, frames_received, bytes_sent, bytes_received, pings_sent, pings_received, "
    "last_rtt, write_backlog, sends_after_close",
    "WSUpgradeResponse.create_101_response": "extra_headers=None",
    "WSUpgradeResponse.create_ok_response": "body=None, extra_headers=None",
    "WSUpgradeResponse.create_error_response": "status, body=None, extra_headers=None",
    "WSUpgradeResponse.create_redirect_response": "status, location, extra_headers=None",
    "WSUpgradeResponse.to_bytes": "self",
    "WSTransport.send": "self, msg_type, message, fin=True, rsv1=False, rsv2=False, rsv3=False",
    "WSTransport.send_reuse_external_bytearray": "self, msg_type, buffer, msg_offset, fin=True, rsv1=False, "
    "rsv2=False, rsv3=False",
    "WSTransport.send_message": "self, message",
    "WSTransport.send_ping": "self, message=None",
    "WSTransport.send_pong": "self, message=None",
    "WSTransport.send_close": "self, close_code=0, close_message=None",
    "WSTransport.disconnect": "self, graceful=True",
    "WSTransport.wait_disconnected": "self",
    "WSTransport.measure_roundtrip_time": "self, rounds",
    "WSTransport.notify_user_specific_pong_received": "self",
    "WSTransport.pause_reading": "self",
    "WSTransport.resume_reading": "self",
    "WSTransport.cork": "self",
    "WSTransport.flush": "self",
    "WSTransport.get_write_buffer_size": "self",
    "WSTransport.stats": "self",
    "WSListener.on_ws_connected": "self, transport",
    "WSListener.on_ws_frame": "self, transport, frame",
    "WSListener.on_ws_disconnected": "self, transport",
    "WSListener.on_read_end": "self, transport",
    "WSListener.send_user_specific_ping": "self, transport",
    "WSListener.is_user_specific_pong": "self, frame",
    "WSListener.pause_writing": "self",
    "WSListener.resume_writing": "self",
    **{
        f"WSFrame.get_{what}": "self"
        for what in (
            "payload_as_bytes",
            "payload_as_utf8_text",
            "payload_as_utf8",
            "payload_as_ascii_text",
            "payload_as_memoryview",
            "close_code",
            "close_message",
            "close_reason",
        )
    },
}

ATTRIBUTES = {
    "WSFrame": "msg_type fin rsv1 rsv2 rsv3 last_in_buffer payload_size tail_size",
    "WSTransport": "underlying_transport request response close_handshake is_client_side is_secure "
    "is_close_frame_sent is_disconnected",
    "WSCloseHandshake": "recv sent recv_then_sent",
    "WSCloseInfo": "code reason",
    "WSUpgradeRequest": "method path version headers",
    "WSUpgradeResponse": "version status headers body",
    "WSParsedURL": "resource_name user_info",
}


def describe(function) -> str:
    """Names, kinds and defaults of the parameters; an enum's default as its number."""
    parameters = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            default=int(parameter.default) if isinstance(parameter.default, enum.IntEnum) else parameter.default,
        )
        for parameter in inspect.signature(function).parameters.values()
    ]
    return str(inspect.Signature(parameters))[1:-1]


def find(name: str):
    """A public name, or a member of one."""
    found = picows
    for part in name.split("."):
        found = getattr(found, part)
    return found


def options_of(function) -> set[str]:
    """Keyword-only parameters, each with its default."""
    return set(describe(function).partition("*, ")[2].removesuffix(", **kwargs").split(", "))


def test_exactly_these_names_are_public():
    assert set(picows.__all__) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_exists(name):
    assert find(name) is not None


@pytest.mark.parametrize(("name", "members"), ENUMS.items())
def test_enums_have_these_members(name, members):
    found = find(name)
    assert issubclass(found, enum.IntEnum)
    assert {member.name: int(member) for member in found} == members


@pytest.mark.parametrize(("name", "parent"), EXCEPTIONS.items())
def test_exceptions_form_this_tree(name, parent):
    assert [base.__name__ for base in find(name).__bases__] == [parent]


@pytest.mark.parametrize(("name", "signature"), SIGNATURES.items())
def test_signatures_are_these(name, signature):
    assert describe(find(name)) == signature


def test_ws_connect_has_these_parameters():
    assert describe(picows.ws_connect).startswith("ws_listener_factory, url, *, ")
    assert describe(picows.ws_connect).endswith(", **kwargs")
    assert options_of(picows.ws_connect) == {*SHARED_OPTIONS.format(ping=10).split(", "), *CLIENT_OPTIONS.split(", ")}


def test_ws_create_server_has_these_parameters():
    assert describe(picows.ws_create_server).startswith("ws_listener_factory, host=None, port=None, *, ")
    assert describe(picows.ws_create_server).endswith(", **kwargs")
    assert options_of(picows.ws_create_server) == {
        *SHARED_OPTIONS.format(ping=20).split(", "),
        "handshake_policy=None",
    }


@pytest.mark.parametrize("name", [f"{owner}.{name}" for owner, names in ATTRIBUTES.items() for name in names.split()])
def test_every_attribute_exists(name):
    assert inspect.isdatadescriptor(find(name))


def test_a_parsed_url_is_frozen():
    with pytest.raises(AttributeError):
        picows.url.parse_url("ws://localhost/").host = "elsewhere"


def test_the_debug_level_is_below_that_of_logging():
    assert picows.PICOWS_DEBUG_LL == 9


@pytest.mark.parametrize("module", ["picows.picows", "picows.api"])
def test_other_modules_export_the_same_objects(module):
    other = importlib.import_module(module)
    assert {"ws_connect", "ws_create_server"} <= set(other.__all__)
    assert all(getattr(other, name) is getattr(picows, name) for name in other.__all__)


def test_the_version_stands_in_its_own_module():
    assert importlib.import_module("picows.version").__version__ == picows.__version__


@pytest.mark.parametrize("name", sorted(NAMES - {"PICOWS_DEBUG_LL", "__version__"}))
def test_every_public_name_is_documented(name):
    assert inspect.getdoc(find(name))

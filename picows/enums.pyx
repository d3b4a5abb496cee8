# cython: auto_pickle=False, autotestdict=False
"""Constants of RFC 6455: opcodes (section 11.8), close codes (section 7.4), and the auto ping strategies."""

WSMsgType.__doc__ = "Opcode of a frame (RFC 6455 section 11.8)."
WSCloseCode.__doc__ = """Close code (RFC 6455 section 7.4.1 and the IANA registry).

NO_INFO stands for a CLOSE frame without a code; it never travels on the wire. ABNORMAL_CLOSURE does not either.
"""
WSAutoPingStrategy.__doc__ = """When auto ping sends a ping.

PING_WHEN_IDLE: after ``auto_ping_idle_timeout`` seconds in which nothing was received.
PING_PERIODICALLY: every ``auto_ping_idle_timeout`` seconds, whatever was received.
"""

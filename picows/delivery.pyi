from typing_extensions import disjoint_base

from picows.ending import EndingProtocol
from picows.options import PICOWS_DEBUG_LL as PICOWS_DEBUG_LL

@disjoint_base
class DeliveringProtocol(EndingProtocol): ...

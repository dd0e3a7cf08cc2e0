"""What a server says that it offers, for the file that a hand's ``listing`` names: asked by a person, with that
person's credentials, and of no consequence until somebody pins it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from mcp import Client
from pydantic import BaseModel
from yarl import URL

from gateway.errors import HandrailError
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.dialer import Dialer, session
from hand_adapters.mcp import listing
from hand_adapters.mcp.endings import SDK_ERRORS
from hand_adapters.mcp.session import OPEN_SECONDS, WHO
from hand_adapters.mcp.streamable import HttpChannel


async def listed(
    url: str, headers: Mapping[str, str], query: Mapping[str, str], *, private_network: bool
) -> dict[str, Any]:
    """``{tools, instructions}`` of a server, as it says them; with ``prompts``, ``resourceTemplates`` and
    ``completions`` of one that has them.

    Args:
        url: without a query.
        headers: sent with every message.
        query: the same, as parameters of the URL.

    Raises:
        HandError: it cannot be asked.
    """
    http = session(Dialer(private_network=private_network))
    endpoint = URL(f"{url}?{urlencode(query, quote_via=quote)}", encoded=True) if query else URL(url)
    channel = HttpChannel(http, endpoint, parts=True, headers=headers)
    channel.window(listing.LISTING_MAX_BYTES)
    timer = asyncio.get_running_loop().call_later(OPEN_SECONDS, channel.fail, Reason.HAND_TIMEOUT, "no answer in time")
    try:
        async with Client(channel.streams(), mode="auto", cache=None, client_info=WHO) as client:
            offered = await listing.offer(client)
    except HandrailError as error:
        raise HandError(error.reason, HandFailure.NOT_EXECUTED, error.detail) from None
    except SDK_ERRORS as exc:
        words = (channel.detail or type(exc).__name__, channel.last_words())
        detail = "; ".join(word for number, word in enumerate(words) if word and word not in words[:number])
        raise HandError(channel.fault or Reason.HAND_PROTOCOL, HandFailure.NOT_EXECUTED, detail) from None
    finally:
        timer.cancel()
        await http.close()
    return {
        "tools": _shown(offered.tools),
        "instructions": offered.instructions,
        **({} if offered.prompts is None else {"prompts": _shown(offered.prompts)}),
        **({} if offered.templates is None else {"resourceTemplates": _shown(offered.templates)}),
        **({"completions": True} if offered.completions else {}),
    }


def _shown(items: Sequence[BaseModel]) -> list[dict[str, Any]]:
    return [item.model_dump(by_alias=True, mode="json", exclude_none=True) for item in items]

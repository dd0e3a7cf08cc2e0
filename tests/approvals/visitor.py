"""A person at the pages, as far as a server can tell: cookies and forms."""

import html
import re

import httpx2

from tests.approvals.world import World

FORM = "application/x-www-form-urlencoded"


class Visitor:
    """A browser's cookies, and nothing else of it."""

    def __init__(self, here: World, **headers: str) -> None:
        self.here = here
        self.cookie = ""
        self.headers = headers

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.here.http.get(path, headers=self._all(headers))

    async def post(self, path: str, form: dict[str, str] | bytes, **headers: str) -> httpx2.Response:
        sent = {"origin": self.here.url, "sec-fetch-site": "same-origin", **headers}
        sent = {name: value for name, value in sent.items() if value}
        if isinstance(form, bytes):
            answer = await self.here.http.post(path, content=form, headers={"content-type": FORM, **self._all(sent)})
        else:
            answer = await self.here.http.post(path, data=form, headers=self._all(sent))
        self.here.http.cookies.clear()  # the client would keep them for every visitor
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    async def log_in(self, who: str, onward: str = "/approvals") -> httpx2.Response:
        return await self.post("/login", {"api_key": self.here.keys[who], "next": onward})

    async def form(self, approval_id: str) -> dict[str, str]:
        """The hidden fields of a request's page."""
        return hidden((await self.get(f"/approvals/{approval_id}")).text)

    async def answer(self, approval_id: str, given: str, **headers: str) -> httpx2.Response:
        fields = await self.form(approval_id)
        return await self.post(f"/approvals/{approval_id}", {**fields, "answer": given}, **headers)

    def _all(self, more: dict[str, str]) -> dict[str, str]:
        cookie = {"cookie": self.cookie} if self.cookie else {}
        return {**self.headers, **cookie, **{name.replace("_", "-"): value for name, value in more.items()}}


def hidden(page: str) -> dict[str, str]:
    """Fields of the last form on a page."""
    inputs = re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', page.rpartition("<form")[2])
    return {name: html.unescape(value) for name, value in inputs}


async def visitor(here: World, who: str = "bob") -> Visitor:
    one = Visitor(here)
    answer = await one.log_in(who)
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals")
    return one

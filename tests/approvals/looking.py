"""What tests of the pages in a real browser share: logging in, looking, and authenticators that are plugged in."""

from tests.approvals.world import World
from tests.chromium import Tab


async def log_in(here: World, tab: Tab, who: str = "bob", path: str = "/approvals") -> None:
    await tab.goto(f"{here.url}{path}")
    await tab.fill("#api_key", here.keys[who])
    async with tab.loading():
        await tab.key("Enter")


async def unnamed(tab: Tab) -> list[str]:
    """Controls without a name that could be read out."""
    tree = (await tab.send("Accessibility.getFullAXTree"))["nodes"]
    controls = {"button", "link", "textbox", "combobox", "checkbox", "DisclosureTriangle"}
    return [str(node) for node in tree if of(node, "role") in controls and not of(node, "name")]


async def named(tab: Tab) -> list[tuple[str, str]]:
    """Role and name of everything that is read out."""
    tree = (await tab.send("Accessibility.getFullAXTree"))["nodes"]
    return [(of(node, "role"), of(node, "name")) for node in tree]


def of(node: dict[str, dict[str, str]], member: str) -> str:
    return str(node.get(member, {}).get("value", ""))


CONTRAST = """(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const under = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(under(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${e.tagName}.${e.className}: ${ratio.toFixed(2)}`);
  }
  return bad;
})()"""
"""Text whose contrast is under WCAG 2.2's 4.5 to 1 (success criterion 1.4.3)."""


VIRTUAL = {
    "protocol": "ctap2",
    "transport": "usb",
    "hasResidentKey": False,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


async def with_authenticator(tab: Tab, **options: object) -> str:
    """Plug an authenticator into the browser; its id."""
    await tab.send("WebAuthn.enable")
    added = await tab.send("WebAuthn.addVirtualAuthenticator", options={**VIRTUAL, **options})
    return str(added["authenticatorId"])


async def enrol(here: World, tab: Tab, who: str = "bob", *, algorithms: str = "[-8, -7]") -> None:
    directory = here.gateway.directory
    ticket = (await directory.offer_enrolment(await directory.principal("default", "root"), who))["ticket"]
    await log_in(here, tab, who, "/security-keys")
    await tab.eval(
        "(form => { form.dataset.enrol = JSON.stringify("
        f"{{...JSON.parse(form.dataset.enrol), algorithms: {algorithms}}}); }})"
        "(document.querySelector('main form'))"
    )
    await tab.fill("#ticket", ticket)
    await tab.key("Enter")
    await tab.until("!!document.querySelector('main li code')")

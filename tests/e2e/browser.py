"""Headless Chromium for tests: what is on a page is found by the words on it."""

import shutil

import pytest
from accounts import PASSWORD, Accounts

selenium = pytest.importorskip("selenium", reason="python3-selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"
)


def browser_new(*arguments):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in [
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-proxy-server",
        "--window-size=1200,900",
        "--lang=en",
        *arguments,
    ]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=Service(DRIVER), options=options)


class Page:
    """What a user sees and touches: things are found by the words on them."""

    def __init__(self, browser, server):
        self.browser, self.server = browser, server

    def open(self, path="/"):
        self.browser.get(self.server.url + path)
        return self

    def wait(self, truth, what):
        return WebDriverWait(self.browser, 60).until(lambda _: truth(), what)

    def heading(self, text):
        self.wait(
            lambda: self.browser.execute_script("return document.querySelector('h1')?.textContent") == text,
            f"heading {text}",
        )
        return self

    def field(self, label):
        def find():
            for element in self.browser.find_elements(By.TAG_NAME, "label"):
                if element.text == label:
                    return self.browser.find_element(By.ID, element.get_attribute("for"))
            return None

        return self.wait(find, f"a field {label}")

    def fill(self, **values):
        for label, text in values.items():
            field = self.field(label.replace("_", " "))
            field.clear()
            field.send_keys(text)
        return self

    def press(self, text):
        def find():
            for element in self.browser.find_elements(By.CSS_SELECTOR, "button, a, [role=tab]"):
                if element.text == text or element.get_attribute("aria-label") == text:
                    return element if element.is_displayed() and element.is_enabled() else None
            return None

        self.wait(find, f"a button {text}").click()
        return self

    def text(self):
        return self.browser.find_element(By.TAG_NAME, "body").text

    def sees(self, text):
        self.wait(lambda: text in self.text(), f"the text {text}")
        return self

    def said(self, text):
        self.wait(lambda: text in self.browser.find_element(By.ID, "said").text, f"{text} said")

    def sign_in(self, email="owner@example.org"):
        self.open().heading("Sign in")
        return self.fill(**{"E-mail": email, "Password": PASSWORD}).press("Sign in")

    def names(self):
        """(role, name) of all that assistive technology is told of."""
        self.browser.execute_cdp_cmd("Accessibility.enable", {})
        nodes = self.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]

    def complaints(self):
        """Of the browser's console: errors, and what the page's policy refused."""
        return [e["message"] for e in self.browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


@pytest.fixture(scope="module")
def browser():
    made = browser_new()
    yield made
    made.quit()


@pytest.fixture
def page(browser):
    with Accounts() as server:
        browser.get("about:blank")
        yield Page(browser, server)
        browser.get(server.url + "/favicon.ico")
        browser.execute_script("localStorage.clear(); sessionStorage.clear()")


@pytest.fixture
def signed_in(page):
    page.tokens = page.server.register()
    page.sign_in().heading("Hello, Ada")
    return page

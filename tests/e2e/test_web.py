"""The page in a real browser: what a person does with mouse, keyboard or a screen reader."""

import json
import re

import pytest
from accounts import PASSWORD
from browser import By, Keys, Page, browser, browser_new, page, signed_in, webdriver  # noqa: F401
from repositories import make_repository
from test_integrations import TOKEN, Forge

# ---- in and out ----


def test_the_first_visitor_registers_by_keyboard_alone(page):
    page.open().heading("Welcome").sees("You are the first here")
    focus = page.browser.switch_to.active_element
    assert focus.get_attribute("id") == "main", "the page begins to be read at its content"
    keys = webdriver.ActionChains(page.browser)
    for text in ["Ada", "owner@example.org", PASSWORD, PASSWORD]:
        keys.send_keys(Keys.TAB, text)
    keys.send_keys(Keys.ENTER).perform()
    page.heading("Hello, Ada")
    assert page.server.data("{ serverInfo { isAdminInitialized } }")["serverInfo"]["isAdminInitialized"]
    assert page.complaints() == []


def test_what_is_wrong_is_said_at_its_field(page):
    page.open().heading("Welcome").fill(
        Your_name="Ada", **{"E-mail": "nobody", "Password": "short", "Repeat password": "other"}
    )
    page.press("Create account").sees("Email is invalid").sees("Passwords do not match")
    field = page.field("E-mail")
    assert field.get_attribute("aria-invalid") == "true"
    described = field.get_attribute("aria-describedby").split()
    assert any(
        "Email is invalid" in page.browser.find_element(By.ID, i).text
        for i in described
        if page.browser.find_elements(By.ID, i)
    )
    assert page.browser.switch_to.active_element == field
    page.fill(**{"E-mail": "owner@example.org", "Password": PASSWORD, "Repeat password": PASSWORD}).press(
        "Create account"
    )
    page.heading("Hello, Ada")


def test_signing_in_stays_over_a_reload_and_a_restart_of_the_server(page, tmp_path):
    page.server.register()
    page.open().heading("Sign in").fill(**{"E-mail": "owner@example.org", "Password": "Wr0ng-one!"}).press(
        "Sign in"
    )
    page.sees("Invalid email address or password").fill(Password=PASSWORD).press("Sign in").heading(
        "Hello, Ada"
    )
    page.browser.refresh()
    page.heading("Hello, Ada")
    for _ in range(8):  # each leaves the page while it renews its session
        page.browser.execute_script("location.reload()")
    page.heading("Hello, Ada")
    page.server.arguments += ["--port", str(page.server.port)]
    page.server.stop()
    page.server.start()
    page.press("Team").heading("Team").sees("owner@example.org")
    page.press("Sign out").heading("Sign in")
    page.browser.refresh()
    page.heading("Sign in")


def test_a_session_that_was_ended_elsewhere_leads_to_the_door(signed_in):
    signed_in.server.data("mutation { logoutAllSessions }", signed_in.tokens["accessToken"])
    signed_in.browser.refresh()
    signed_in.heading("Sign in")


def test_an_invited_colleague_comes_in_and_is_put_out(signed_in):
    page = signed_in
    page.press("Team").heading("Team").fill(**{"E-mail to invite": "grace@example.org"}).press("Invite")
    page.sees("Link for grace@example.org")
    link = page.field("Link for grace@example.org").get_attribute("value")
    assert link.startswith(page.server.url + "/auth/signup?invitationCode=")
    other = browser_new()
    try:
        there = Page(other, page.server)
        there.browser.get(link)
        there.heading("You are invited").fill(
            Your_name="Grace",
            **{"E-mail": "grace@example.org", "Password": PASSWORD, "Repeat password": PASSWORD},
        )
        there.press("Create account").heading("Hello, Grace")
        assert "Repositories" not in there.text(), "what is for admins is not offered"
        there.press("Team").sees("owner@example.org")
        assert "Deactivate" not in there.text()
        page.browser.refresh()
        page.heading("Team").press("Deactivate grace@example.org").sees("deactivated")
        there.browser.refresh()
        there.heading("Sign in")
        page.press("Activate grace@example.org")
        page.wait(lambda: "deactivated" not in page.text(), "active again")
        page.press("Change the role of grace@example.org").sees("admin")
    finally:
        other.quit()


def test_a_forgotten_password_by_link(signed_in):
    code = signed_in.server.invite(signed_in.tokens["accessToken"], "grace@example.org")
    signed_in.server.register("grace@example.org", code, "Grace")
    url = signed_in.server.data(
        'mutation { generateResetPasswordUrl(userId: "R1AWw5") }', signed_in.tokens["accessToken"]
    )
    path = url["generateResetPasswordUrl"].split(":8080")[1]
    signed_in.press("Sign out").heading("Sign in")
    signed_in.open(path).heading("A new password").fill(
        Password="N3w-word!", Repeat_password="N3w-word!"
    ).press("Set password")
    signed_in.heading("Sign in").fill(**{"E-mail": "grace@example.org", "Password": "N3w-word!"}).press(
        "Sign in"
    ).heading("Hello, Grace")


# ---- the views ----


def test_the_token_is_shown_copied_and_replaced(signed_in):
    page = signed_in
    token = page.server.me(page.tokens["accessToken"])["authToken"]
    field = page.field("Token")
    assert field.get_attribute("type") == "password" and field.get_attribute("value") == token
    page.press("Show")
    assert field.get_attribute("type") == "text"
    page.browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    page.press("Copy token").said("Copied")
    assert page.browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == token
    page.press("Account").heading("Account").press("New token")
    page.browser.switch_to.alert.accept()
    page.said("There is a new token")
    assert page.server.status(token=token) == 401


def test_how_each_editor_is_connected(signed_in):
    page = signed_in
    page.sees("Tabby: Connect to Server")
    tab = next(t for t in page.browser.find_elements(By.CSS_SELECTOR, "[role=tab]") if t.text == "VS Code")
    tab.click()
    for name, words in [
        ("IntelliJ", "Settings › Tools"),
        ("Vim", "tabby_agent_start_command"),
        ("Others", "curl "),
    ]:
        page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        active = page.browser.switch_to.active_element
        assert active.text == name and active.get_attribute("aria-selected") == "true"
        page.sees(words)
    page.browser.switch_to.active_element.send_keys(Keys.HOME)
    page.sees("Tabby: Connect to Server")
    config = page.browser.execute_script(
        "return [...document.querySelectorAll('pre')].map(p => p.textContent).find(t =>"
        " t.includes('[server]'))"
    )
    assert (
        f'endpoint = "{page.server.url}"' in config
        and page.server.me(page.tokens["accessToken"])["authToken"] in config
    )


def test_models_and_state(signed_in):
    signed_in.sees("v0.32.0").sees("Completion")
    assert "none" in signed_in.text()


def test_activity_by_day_and_language(signed_in):
    page = signed_in
    with page.server.database() as database:
        for i in range(20):
            database.execute(
                "INSERT INTO user_completions (user_id, completion_id, language, views, selects, created_at)"
                " VALUES (1, ?, ?, 1, ?, datetime('now', ?))",
                (f"c{i}", "rust" if i % 4 else "python", int(i < 5), f"-{i % 3} days"),
            )
    page.press("Activity").heading("Activity").sees("25 %")
    plots = [name for role, name in page.names() if role in ("image", "img", "graphics-document")]
    assert "Completions by day: 20 shown, 5 accepted in 30 days" in plots
    assert any("rust: 3 of 15 accepted" in name and "python: 2 of 5 accepted" in name for name in plots)
    assert len(page.browser.find_elements(By.CSS_SELECTOR, "svg .shown")) == 30 + 2
    page.browser.find_elements(By.TAG_NAME, "summary")[1].click()
    page.sees("rust 15 15 3 20 %")
    page.field("Period").send_keys("7 days")
    page.wait(lambda: any("in 7 days" in name for _, name in page.names()), "seven days")


def test_repositories_are_added_indexed_and_removed(signed_in, tmp_path):
    page = signed_in
    make_repository(tmp_path / "shop")
    page.press("Repositories").heading("Repositories").sees("None yet").sees("only what is committed counts")
    page.fill(Name="x", Git_URL="no url").press("Add").sees("Invalid repository name").sees("Invalid Git URL")
    page.fill(Name="shop", Git_URL=f"file://{tmp_path}/shop").press("Add").said("shop is added")
    page.sees("the default branch").sees("Ready").sees("32 files, ")
    assert page.field("Name").get_attribute("value") == "", "ready for the next one"
    page.fill(Name="away", Git_URL="http://127.0.0.1:1/away.git", Branches="main, next").press("Add")
    page.sees("main, next").sees("Failed: http://127.0.0.1:1/away.git: fetch")
    page.press("Update shop").said("shop is brought up to date")
    names = page.names()
    assert ("button", "Remove shop") in names and ("columnheader", "Index") in names
    page.press("Remove shop").said("shop is removed")
    page.press("Remove away").sees("None yet")
    assert page.complaints() == []


def test_a_service_is_connected_and_its_repositories_chosen(signed_in, tmp_path):
    page = signed_in
    make_repository(tmp_path / "acme" / "shop")
    forge = Forge(tmp_path)
    try:
        page.press("Repositories").heading("Repositories").sees("No service is connected")
        page.browser.find_element(By.TAG_NAME, "summary").click()
        page.fill(Name_of_the_service="1", Access_token="short").press("Connect")
        page.sees("Invalid repository provider name").sees("Invalid access token")
        page.field("Service").send_keys("GitHub Enterprise")
        page.fill(Name_of_the_service="work", Access_token=TOKEN).press("Connect")
        page.sees("Self-hosted integrations must specify an API base")
        page.fill(API_address=forge.url + "/api/v3").press("Connect").said("work is connected")
        page.sees("acme/other").sees("acme/shop")
        (box,) = page.browser.find_elements(By.CSS_SELECTOR, "[aria-label='Index acme/shop of work']")
        box.send_keys(Keys.SPACE)
        page.said("acme/shop is indexed")
        page.sees("32 files, ")
        page.press("Disconnect work").sees("No service is connected")
        assert page.complaints() == []
    finally:
        forge.close()


def test_name_password_and_settings(signed_in):
    page = signed_in
    page.press("Account").heading("Account").fill(Your_name="Ada Lovelace").press("Save").sees("Ada Lovelace")
    page.fill(Current_password="wrong", New_password="N3w-word!", Repeat_new_password="N3w-word!").press(
        "Change"
    ).sees("Password is incorrect")
    page.fill(Current_password=PASSWORD).press("Change").said("Changed")
    token = page.server.data("{ registrationToken }", page.tokens["accessToken"])["registrationToken"]
    assert page.field("Registration token").get_attribute("value") == token
    page.browser.find_element(By.ID, "telemetry").click()
    page.said("Saved")
    setting = page.server.get(
        "/v1beta/server_setting", headers={"Authorization": f"Bearer {page.tokens['accessToken']}"}
    )
    assert setting.json() == {"disable_client_side_telemetry": True}


# ---- for everybody ----


def test_everything_has_a_name_for_those_who_do_not_see_it(signed_in):
    page = signed_in
    page.server.invite(page.tokens["accessToken"], "grace@example.org")
    for view in ["home", "activity", "team", "repositories", "account"]:
        page.open(f"/#{view}").wait(
            lambda: page.browser.find_elements(By.CSS_SELECTOR, "main section, main .tile"), view
        )
        names = page.names()
        for role, name in names:
            if role in ("button", "link", "textbox", "combobox", "checkbox", "tab", "image", "form", "table"):
                assert name or role in ("form", "table"), (view, role)
        assert [role for role, _ in names].count("main") == 1 and ("navigation", "Pages") in names
        levels = page.browser.execute_script(
            "return [...document.querySelectorAll('h1,h2,h3')].map(h => h.tagName)"
        )
        assert levels[0] == "H1" and levels.count("H1") == 1
        ids = page.browser.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids)), view
    page.browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)


def luminance(colour):
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_by_day_and_by_night(signed_in, scheme):
    signed_in.browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    colours = signed_in.browser.execute_script("""
        const of = (selector, name) => getComputedStyle(document.querySelector(selector))[name];
        const ground = of('body', 'backgroundColor'), card = of('.card', 'backgroundColor');
        return [[of('body', 'color'), ground],
            ...['h2', '.hint', 'nav a[aria-current]', 'a'].map((s) => [of(s, 'color'), card])]""")
    signed_in.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    grounds = {luminance(ground) < 0.2 for _, ground in colours}
    assert grounds == {scheme == "dark"}
    for ink, ground in colours:
        dark, bright = sorted([luminance(ink), luminance(ground)])
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs_that_is_not_ours(signed_in):
    page = signed_in
    page.server.data(
        'mutation($n: String!) { updateUserName(id: "E16n1q", name: $n) }',
        page.tokens["accessToken"],
        n="Ada Lovelace",
    )
    with page.server.database() as database:
        database.execute(
            "UPDATE users SET name = '<img src=x"
            " onerror=document.title=`owned`><script>document.title=`owned`</script>'"
        )
    page.browser.get_log("performance")
    for path in ["/", "/#activity", "/#team", "/#account", "/chat", "/swagger-ui/", "/graphiql", "/nowhere"]:
        page.open(path).wait(
            lambda: page.browser.execute_script("return document.readyState") == "complete", path
        )
        page.wait(lambda: page.browser.find_elements(By.TAG_NAME, "h1"), path)
        assert page.browser.title != "owned"
    page.open("/#team").heading("Team").sees("<img src=x onerror=")
    asked = [json.loads(e["message"])["message"] for e in page.browser.get_log("performance")]
    urls = {m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"}
    assert urls and all(u.startswith((page.server.url, "data:", "blob:")) for u in urls), urls
    policy = page.server.get("/").headers["Content-Security-Policy"]
    assert (
        "default-src 'none'" in policy
        and "script-src 'self'" in policy
        and "frame-ancestors 'none'" in policy
    )
    assert "frame-ancestors" not in page.server.get("/chat").headers["Content-Security-Policy"]
    page.browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'document.title = `owned`';"
        " document.body.append(s)"
    )
    assert page.browser.title != "owned"


@pytest.mark.parametrize("size", [(360, 740), (768, 1000), (1600, 1000)])
def test_no_page_is_wider_than_its_window(signed_in, size):
    signed_in.browser.set_window_size(*size)
    try:
        for view in ["home", "activity", "team", "repositories", "account"]:
            signed_in.open(f"/#{view}").wait(
                lambda: signed_in.browser.find_elements(By.CSS_SELECTOR, "main section"), view
            )
            wide, window = signed_in.browser.execute_script(
                "return [document.documentElement.scrollWidth, innerWidth]"
            )
            assert wide <= window, view
        for path in ["/graphiql", "/swagger-ui/", "/chat"]:
            signed_in.open(path).wait(
                lambda: signed_in.browser.find_elements(By.CSS_SELECTOR, "details, textarea"), path
            )
            wide, window = signed_in.browser.execute_script(
                "return [document.documentElement.scrollWidth, innerWidth]"
            )
            assert wide <= window, path
    finally:
        signed_in.browser.set_window_size(1200, 900)


def test_pages_are_asked_for_once(signed_in):
    answer = signed_in.server.get("/assets/app.js")
    again = signed_in.server.get("/assets/app.js", headers={"If-None-Match": answer.headers["ETag"]})
    assert answer.status == 200 and again.status == 304 and again.body == b""
    for path in [
        "/assets/../ee/db.sqlite",
        "/assets/%2e%2e/x",
        "/assets/",
        "/assets/nothing.js",
        "/etc/passwd",
        "/index.html",
    ]:
        missing = signed_in.server.get(path)
        assert missing.status == 404 and missing.headers["Content-Type"].startswith("text/html"), path


# ---- pages about the server ----


def test_the_api_page_tries_things_out(signed_in):
    page = signed_in
    token = page.server.me(page.tokens["accessToken"])["authToken"]
    page.open("/swagger-ui").heading("API").sees("/v1/completions")
    assert page.browser.current_url.endswith("/swagger-ui/")
    page.field("Token for trying things out").send_keys(token)
    row = next(s for s in page.browser.find_elements(By.TAG_NAME, "details") if "/v1/health" in s.text)
    row.find_element(By.TAG_NAME, "summary").click()
    row.find_element(By.TAG_NAME, "button").click()
    page.wait(lambda: '"cpu_count"' in row.text, "an answer")


def test_the_graphql_page_asks(signed_in):
    signed_in.open("/graphiql").heading("GraphQL").sees("You are signed in").press("Run").sees(
        '"email": "owner@example.org"'
    )
    signed_in.sees("Mutation")

"""Functions that run by the clock, deployed by both clients: while nobody asks, until they should not."""

from conftest import wait_for

PROGRAM = """
app = modal.App("$APP", image=image)


@app.function(schedule=$SCHEDULE, **limits(2))
def tick():
    print("tick $WORD")
"""


def deploy(client, app, schedule, word="one", **more):
    return client.run("deploy", client.write(PROGRAM, APP=app, SCHEDULE=schedule, WORD=word), **more)


def next_run(house, app):
    functions = [f for a in house.catnap.ps()["apps"] if a["app"] == app for f in a["functions"]]
    return functions[0].get("next_run_wall_ms") if functions else None


def log_of(house, app):
    return house.catnap.cli("logs", app).stdout


def test_a_period_runs_while_nobody_asks_over_a_restart_and_until_it_is_taken_away(own_client, own_house):
    app = own_client.name("tick")
    deploy(own_client, app, "modal.Period(seconds=1)")
    assert next_run(own_house, app) > 0
    wait_for("it ran three times", lambda: log_of(own_house, app).count("tick one") >= 3)

    own_house.catnap.stop()
    own_house.catnap.start()
    ran = log_of(own_house, app).count("tick one")
    wait_for("it runs after a restart", lambda: log_of(own_house, app).count("tick one") > ran)

    deploy(own_client, app, "modal.Period(seconds=1)", "two")
    wait_for("the new version runs", lambda: "tick two" in log_of(own_house, app))
    deploy(own_client, app, "None")
    assert next_run(own_house, app) is None


def test_a_time_table_has_its_next_run(client, house):
    app = client.name("table")
    deploy(client, app, "modal.Cron('0 6 1 1 *')")
    new_year = next_run(house, app)
    assert new_year % 3600000 == 0 and "runs in" in house.catnap.cli("ps").stdout
    if not client.old:
        deploy(client, app, "modal.Cron('0 6 1 1 *', timezone='America/New_York')")
        assert next_run(house, app) == new_year + 5 * 3600000, "by the clock of New York"
    client.stop(app)
    assert next_run(house, app) is None


def test_what_is_no_time_table_is_told_at_the_deploy(client, house):
    out = deploy(client, client.name("bad"), "modal.Cron('0 25 * * *')", check=False)
    words = " ".join(out.replace("│", " ").split())
    assert "25" in words and "column" in words, out

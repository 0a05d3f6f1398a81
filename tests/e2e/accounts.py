"""A `tabby serve` with accounts, and what its users ask of it by GraphQL."""

import base64
import hmac
import json
import sqlite3

from tabby import Tabby

PASSWORD = "Passw0rd!"
SECRET = "0e7bb0ad-6d1c-4f6f-9f3a-2f1f0f9b8c11"


class Accounts(Tabby):
    def __init__(self, *arguments, **more):
        more["extra_env"] = {"COPYCAT_REQUESTS_PER_MINUTE": "0", **(more.get("extra_env") or {})}
        super().__init__(*arguments, accounts=True, **more)

    def ask(self, query, token=None, status=200, **variables):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = self.post("/graphql", {"query": query, "variables": variables}, headers)
        assert answer.status == status, answer.text
        return answer.json()

    def data(self, query, token=None, **variables):
        answer = self.ask(query, token, **variables)
        assert "errors" not in answer, answer
        return answer["data"]

    def error(self, query, token=None, **variables):
        (error,) = self.ask(query, token, **variables)["errors"]
        return error

    def register(self, email="owner@example.org", code=None, name="Ada"):
        query = """mutation R($email: String!, $code: String, $name: String!, $p: String!) {
            register(email: $email, password1: $p, password2: $p, invitationCode: $code, name: $name)
            { accessToken refreshToken } }"""
        return self.data(query, email=email, code=code, name=name, p=PASSWORD)["register"]

    def sign_in(self, email="owner@example.org", password=PASSWORD):
        query = (
            "mutation($e: String!, $p: String!) { tokenAuth(email: $e, password: $p) { accessToken"
            " refreshToken } }"
        )
        return self.data(query, e=email, p=password)["tokenAuth"]

    def me(self, token):
        return self.data(
            "{ me { id email name isAdmin isOwner active authToken isPasswordSet isSsoUser createdAt } }",
            token,
        )["me"]

    def invite(self, owner, email):
        self.data("mutation($e: String!) { createInvitation(email: $e) }", owner, e=email)
        edges = self.data("{ invitations { edges { node { email code } } } }", owner)["invitations"]["edges"]
        return next(e["node"]["code"] for e in edges if e["node"]["email"] == email)

    def status(self, path="/v1/health", token=None, scheme="Bearer"):
        return self.get(path, headers={"Authorization": f"{scheme} {token}"} if token else {}).status

    def database(self):
        return sqlite3.connect(self.root / "ee/db.sqlite", timeout=30)

    def events(self):
        lines = [line for file in sorted((self.root / "events").glob("*.json")) for line in file.open()]
        return [json.loads(line) for line in lines]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def jwt(claims, secret=SECRET, header=None):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    text = part(header or {"alg": "HS256"}) + b"." + part(claims)
    return (
        text
        + b"."
        + base64.urlsafe_b64encode(hmac.new(secret.encode(), text, "sha256").digest()).rstrip(b"=")
    ).decode()

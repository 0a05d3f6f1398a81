// What the page asks of its server: GraphQL with the session's tokens, and the REST API with the same.
// The access token lives in memory for half an hour; the refresh token in localStorage, and turns at each use, so that
// two tabs must not use the same one: who loses the race takes what the other one stored.

const KEY = "copycat-refresh-token";
let access = null;

export class Refused extends Error {
  constructor(error) {
    super(error.message);
    this.code = error.extensions?.code;
    this.fields = error.extensions?.["validation-errors"]?.errors ?? [];
  }
}

async function post(query, variables) {
  let answer;
  try {
    answer = await fetch("/graphql", {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(access ? { Authorization: `Bearer ${access}` } : {}) },
      body: JSON.stringify({ query, variables }),
    });
  } catch {
    throw new Error("The server cannot be reached");
  }
  const body = await answer.json().catch(() => { throw new Error(`The server answered with ${answer.status}`); });
  if (body.errors?.length) throw new Refused(body.errors[0]);
  return body.data;
}

export function keep(tokens) {
  access = tokens.accessToken;
  localStorage.setItem(KEY, tokens.refreshToken);
}

export function forget() {
  access = null;
  localStorage.removeItem(KEY);
}

const REFRESH = "mutation($t: String!) { refreshToken(refreshToken: $t) { accessToken refreshToken } }";

// Whether there is a session now.
export async function renew() {
  for (;;) {
    const token = localStorage.getItem(KEY);
    if (!token) return false;
    access = null;
    try {
      keep((await post(REFRESH, { t: token })).refreshToken);
      return true;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (localStorage.getItem(KEY) === token) { forget(); return false; }
    }
  }
}

export async function ask(query, variables = {}) {
  try {
    return await post(query, variables);
  } catch (error) {
    if (error.code !== "UNAUTHORIZED" || !(await renew())) throw error;
    return post(query, variables);
  }
}

export async function rest(path) {
  const once = () => fetch(path, { headers: { Authorization: `Bearer ${access}` } });
  let answer = await once();
  if (answer.status === 401 && (await renew())) answer = await once();
  if (!answer.ok) throw new Error(`${path} answered with ${answer.status}`);
  return answer.json();
}

// The other side of the frame: an editor that shows this page, spoken to by messages [type, arguments].
//   CALL [id, method, arguments] -> RESULT [id, error, value]; EXPOSE_LIST [id] -> RESULT [id, undefined, methods]
// The editor's words for "are you there" are quilt.threads.ping and pong.

const CALL = 0, RESULT = 1, TERMINATE = 2, CHECK_CAPABILITY = 7, EXPOSE_LIST = 8;

export const framed = window.parent !== window;

export function connect(exposed) {
  const waiting = new Map();
  let next = 1, known = null;
  const post = (message) => window.parent.postMessage(message, "*");
  const request = (type, ...rest) => new Promise((resolve, reject) => {
    const id = `page-${next++}`;
    waiting.set(id, [resolve, reject]);
    post([type, [id, ...rest]]);
  });
  async function called(id, method, parameters) {
    try {
      if (!Object.hasOwn(exposed, method)) throw new Error(`No '${method}' method is exposed on this endpoint`);
      post([RESULT, [id, undefined, await exposed[method](...(parameters ?? []))]]);
    } catch ({ name, message }) {
      post([RESULT, [id, { name, message }]]);
    }
  }
  window.addEventListener("message", ({ source, data }) => {
    if (source !== window.parent) return;
    if (data === "quilt.threads.ping") return post("quilt.threads.pong");
    if (!Array.isArray(data) || typeof data[0] !== "number" || (data[1] != null && !Array.isArray(data[1]))) return;
    const [type, rest] = [data[0], data[1] ?? []];
    if (type === CALL) called(...rest);
    else if (type === EXPOSE_LIST) post([RESULT, [rest[0], undefined, Object.keys(exposed)]]);
    else if (type === CHECK_CAPABILITY) post([RESULT, [rest[0], undefined, Object.hasOwn(exposed, rest[1])]]);
    else if (type === RESULT) {
      const [resolve, reject] = waiting.get(rest[0]) ?? [];
      waiting.delete(rest[0]);
      if (rest[1]) reject?.(new Error(rest[1].message)); else resolve?.(rest[2]);
    } else if (type === TERMINATE) waiting.clear();
  });
  post("quilt.threads.pong");
  return {
    // Calls the editor, if it can do that; undefined otherwise.
    async call(method, ...parameters) {
      known ??= request(EXPOSE_LIST);
      return (await known).includes(method) ? request(CALL, method, parameters) : undefined;
    },
  };
}

// The plugin's class as the exports of the world: what the host calls, in what the class has. Not for the
// plugin to import.

import {
  ABORT, Answer, Chunk, DROP, Request, Response, STREAMED, ask, encode, fields, kind, panicked,
} from './weir.js';

const HOOKS = [
  'onPreRequest', 'onRequest', 'onResponse', 'onRequestBody', 'onResponseBody', 'onAnswerBody',
];
/** What is likely meant as one. */
const LIKE_A_HOOK = /^on_?(pre_?)?(http_?)?(request|response|answer)/i;

/** What would never be called is a fault: a guard that is misspelt would let everybody in. */
function check(Plugin) {
  if (typeof Plugin?.prototype !== 'object') {
    throw new Error('src/plugin.js is to have a class as its default export');
  }
  const names = [];
  for (let from = Plugin.prototype; from !== Object.prototype && from; from = Object.getPrototypeOf(from)) {
    names.push(...Object.getOwnPropertyNames(from));
  }
  const wrong = names.find((name) => LIKE_A_HOOK.test(name) && !HOOKS.includes(name));
  const there = `there are ${HOOKS.join(', ')}`;
  if (wrong !== undefined) throw new Error(`${wrong} is no hook; ${there}`);
  if (!names.some((name) => HOOKS.includes(name))) {
    throw new Error(`the class has no hook; ${there}`);
  }
}

/** Which hooks a class has, as `configure` says it. */
export function interests(Plugin) {
  const has = (name) => typeof Plugin.prototype[name] === 'function';
  const body = (side, hook) => {
    if (has(hook)) return { tag: 'stream' };
    const wanted = Plugin[side];
    if (wanted === undefined) return { tag: 'none' };
    const most = wanted?.buffer;
    if (!Number.isSafeInteger(most) || most < 0) {
      throw new Error(`static ${side} is to be { buffer: BYTES }`);
    }
    return { tag: 'buffer', val: BigInt(most) };
  };
  return {
    hooks: {
      preRequest: has('onPreRequest'),
      request: has('onRequest'),
      response: has('onResponse'),
    },
    requestBody: body('requestBody', 'onRequestBody'),
    responseBody: body('responseBody', 'onResponseBody'),
    requestHead: Plugin.requestHead === true,
    decoded: Plugin.decoded === true,
  };
}

/** Where an error was thrown, as far as its stack tells: `src/plugin.js:12`. */
function place(error) {
  for (const line of String(error?.stack ?? '').split('\n')) {
    const at = /(?:^|[/@(\s])(src\/[\w./-]+\.m?js):(\d+)/.exec(line);
    if (at) return `, at ${at[1]}:${at[2]}`;
  }
  return '';
}

/** What an error says, with file and line. */
export function told(error) {
  if (!(error instanceof Error)) return String(error);
  const name = error.name === 'Error' ? '' : `${error.name}: `;
  return `${name}${error.message}${place(error)}`;
}

/** The exports of the world, for a plugin's class. */
export function bind(Plugin) {
  let plugin;
  // Once, as the module is built: an instance has no time to lose.
  let wanted;
  let fault;
  try {
    check(Plugin);
    wanted = interests(Plugin);
  } catch (error) {
    fault = error.message;
  }

  const failing = (run) => {
    try {
      return run();
    } catch (error) {
      panicked(told(error));
      throw error;
    }
  };
  const got = (value) =>
    value instanceof Promise ? 'a promise: a hook cannot be async' : kind(value);
  const respond = (handle, answer) => {
    const { status, headers, body } = answer;
    if (!Number.isInteger(status)) {
      throw new TypeError(`an answer's status is a whole number, not ${kind(status)}`);
    }
    const send = () =>
      body === STREAMED
        ? handle.respondStreamed(status, fields(headers))
        : handle.respond(status, fields(headers), encode(body));
    ask('answer', send);
    return 'respond';
  };
  const head = (Kind, hook) => (handle) =>
    failing(() => {
      // Whoever has a hook for a body's pieces is called for its head too.
      const answer = plugin[hook]?.(new Kind(handle));
      if (answer instanceof Answer) return respond(handle, answer);
      if (answer === undefined) return 'proceed';
      throw new TypeError(`${hook} returned neither nothing nor an Answer of the SDK, but ${got(answer)}`);
    });
  const piece = (hook) => (handle) =>
    failing(() => {
      const chunk = new Chunk(handle);
      const flow = plugin[hook](chunk);
      if (flow === undefined) return 'pass';
      if (flow === DROP) return 'replace';
      if (flow === ABORT) return 'abort';
      if (flow instanceof Answer) return respond(handle, flow);
      if (typeof flow !== 'string' && !(flow instanceof Uint8Array)) {
        throw new TypeError(`${hook} returned no piece, but ${got(flow)}`);
      }
      chunk.write(flow);
      return 'replace';
    });
  return {
    configure(config) {
      if (fault !== undefined) throw fault;
      try {
        plugin = new Plugin(JSON.parse(config));
        return wanted;
      } catch (error) {
        // A plain `Error` is meant for the operator; what the language throws, for the author too.
        throw error?.name === 'Error' ? error.message : told(error);
      }
    },
    configSchema: () => (Plugin.configSchema ? JSON.stringify(Plugin.configSchema) : ''),
    onPreRequest: head(Request, 'onPreRequest'),
    onRequest: head(Request, 'onRequest'),
    onResponse: head(Response, 'onResponse'),
    onRequestBody: piece('onRequestBody'),
    onResponseBody: piece('onResponseBody'),
    onAnswerBody: piece('onAnswerBody'),
  };
}

// Weir's SDK for plugins in JavaScript.
//
// A plugin is a class, the default export of `src/plugin.js`. It wants the hooks that it has methods
// for, and no other is ever called:
//
//   export default class Tag {
//     static configSchema = { type: 'object' };   // optional; `weir plugin inspect` shows it
//     static requestBody = { buffer: 65536 };     // optional: hold so many bytes back for onRequest
//     static responseBody = { buffer: 65536 };    // optional: the same for onResponse
//     static requestHead = true;                  // optional: for response.requestHeader
//     static decoded = true;                      // optional: see bodies without gzip, deflate, zstd
//
//     constructor(config) {}        // once an instance; what it throws refuses the configuration
//     onPreRequest(request) {}      // before routing, in a listener's chain
//     onRequest(request) {}         // routed, before the upstream is called
//     onResponse(response) {}       // the head has arrived, or an answer was made instead
//     onRequestBody(chunk) {}       // a piece of the request's body, which streams
//     onResponseBody(chunk) {}      // a piece of the response's body
//     onAnswerBody(chunk) {}        // the end of an answer that is `STREAMED`
//   }
//
// A hook of a head returns nothing to go on, or an `Answer`. A hook of a piece returns nothing to let
// it pass, text or bytes to send instead of it, `DROP`, `ABORT`, or (of a request) an `Answer`. Of an
// answer that is `STREAMED`, what `onAnswerBody` returns goes out before its end, and it is called again
// once the client has taken that, until it returns nothing. What a hook throws fails it: the operator's
// `on_error` decides what becomes of the request, and message, file and line are on the hook's span and in
// the log.
//
// The contract below this is `sdk/wit/weir.wit`, where each call is described to the end.

/** What calls reach: the host in the sandbox, or a fake one in tests. */
let host;

/** Of `sdk/entry.js` and `sdk/testing.js` alone. */
export function useHost(used) {
  host = used;
}

/** Whether there is a host: not while the module is built. */
export const hosted = () => host !== undefined;

/** Why the guest is about to trap. Of `sdk/bind.js`. */
export const panicked = (message) => host.log.panicked(message);

/** Of a piece: nothing goes on instead of it. */
export const DROP = Symbol('drop');
/** Of a piece: the body is broken off, and its receiver can tell. */
export const ABORT = Symbol('abort');

/** Of an `Answer`: its body comes of `onAnswerBody`, piece by piece. */
export const STREAMED = Symbol('streamed');

/** What is sent instead of what would have been. */
export class Answer {
  /**
   * @param {number} status 200 to 599
   * @param {Object<string, string | string[]> | Iterable<[string, string]>} [headers]
   * @param {string | Uint8Array | STREAMED} [body]
   */
  constructor(status, headers = {}, body = '') {
    this.status = status;
    this.headers = headers;
    this.body = body;
  }
}

/** What a value is, for who did not expect it. Of `sdk/bind.js`. */
export function kind(value) {
  if (value === null || value === undefined) return String(value);
  return typeof value === 'object' ? (value.constructor?.name ?? 'an object') : typeof value;
}

/** A value that a text can stand for. An object would be sent as `[object Object]`. */
function text(value) {
  if (!['string', 'number', 'bigint', 'boolean'].includes(typeof value)) {
    throw new TypeError(`a text is wanted, not ${kind(value)}`);
  }
  return String(value);
}

/** Text to bytes. */
export function encode(data) {
  if (data instanceof Uint8Array) return data;
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (typeof data === 'object' || data === undefined) {
    throw new TypeError(`text or bytes are wanted, not ${kind(data)}: is it to be JSON.stringify?`);
  }
  return new TextEncoder().encode(text(data));
}

/** Bytes, or a text, in hexadecimal. */
export function hex(data) {
  return Array.from(encode(data), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Bytes, or a text, in base64 (RFC 4648, section 4). */
export function base64(data) {
  return btoa(Array.from(encode(data), (byte) => String.fromCharCode(byte)).join(''));
}

/** Bytes to text, by UTF-8. */
export function decode(bytes) {
  return new TextDecoder().decode(bytes);
}

/** A header's value as text. */
function valueOf(name, value) {
  try {
    return text(value);
  } catch (error) {
    throw new TypeError(`${name}: ${error.message}`);
  }
}

/** A list of fields, of an object or pairs whose values are texts or lists of texts. Of `sdk/bind.js`. */
export function fields(headers) {
  const lines = [];
  const pairs = typeof headers[Symbol.iterator] === 'function' ? headers : Object.entries(headers);
  for (const [name, values] of pairs) {
    for (const value of Array.isArray(values) ? values : [values]) {
      lines.push([name, encode(valueOf(name, value))]);
    }
  }
  return lines;
}

/** The host's refusals have words; here they become errors that say what was refused. Of `sdk/bind.js`. */
export function ask(what, call) {
  try {
    return call();
  } catch (error) {
    const refused = error?.payload;
    if (refused === undefined) throw error;
    throw new Refused(what, refused);
  }
}

/** What to do about what an author meets first. */
const WAY_OUT = {
  'not-buffered': 'ask for it by `static requestBody` or `static responseBody = { buffer: BYTES }`',
  'not-allowed': 'is it listed in the `upstreams` of the plugin?',
  'too-many': 'a hook makes as many calls as `limits.calls` says; a plugin has 64 metrics, of 8 labels and 32 bounds',
  'too-late': 'only onPreRequest comes before routing, and only a request can be answered, until its response has begun',
  forbidden: 'the field belongs to the proxy',
  immutable: 'an answer has been given already, it is a part (206), or a trailer of a piece that is not the last',
  'invalid-status': 'from 200 to 599',
};

/** The host refused something; `reason` is its word in the WIT, such as `forbidden` or `timeout`. */
export class Refused extends Error {
  constructor(what, refused) {
    let reason = refused;
    let more = '';
    while (typeof reason === 'object' && reason !== null) {
      if (typeof reason.val === 'string') more = `: ${reason.val}`;
      reason = typeof reason.val === 'object' ? reason.val : reason.tag;
    }
    if (WAY_OUT[reason]) more += ` (${WAY_OUT[reason]})`;
    super(`${what}: ${reason}${more}`);
    this.name = 'Refused';
    this.reason = reason;
  }
}

/** What heads of requests and responses have alike. */
class Head {
  constructor(handle) {
    this.handle = handle;
  }

  /** The first value of a field, by its name in any case; `undefined` where there is none. */
  header(name) {
    return this.handle.header(name);
  }

  /** All values of a field, as texts, in order. */
  headerValues(name) {
    return this.handle.headerValues(name).map(decode);
  }

  /** All fields: [name in lower case, value as text]. */
  headers() {
    return this.handle.headers().map(([name, value]) => [name, decode(value)]);
  }

  /** Replaces all values of a field by one. */
  setHeader(name, value) {
    ask(name, () => this.handle.setHeader(name, valueOf(name, value)));
  }

  /** Adds a value beside those there are. */
  addHeader(name, value) {
    ask(name, () => this.handle.addHeader(name, valueOf(name, value)));
  }

  /** Removes all values of a field. */
  removeHeader(name) {
    ask(name, () => this.handle.removeHeader(name));
  }

  /** The whole body, as bytes, in the encoding that `content-encoding` says; needs `buffer`. */
  body() {
    return ask('body', () => this.handle.body());
  }

  /** The whole body, as text. */
  text() {
    return decode(this.body());
  }

  /** Replaces the body, by text or bytes; needs `buffer`. */
  setBody(body) {
    ask('body', () => this.handle.setBody(encode(body)));
  }

  /** Where pieces are wanted: lets this body by. */
  skipBody() {
    this.handle.skipBody();
  }
}

/** The request, as the hooks before this one left it. */
export class Request extends Head {
  get method() {
    return this.handle.method();
  }

  /** `http` or `https`. */
  get scheme() {
    return this.handle.scheme();
  }

  /** Host and, where given, port. */
  get authority() {
    return this.handle.authority();
  }

  /** The path without the query. */
  get path() {
    return this.handle.path();
  }

  /** What follows `?`, or `undefined`. */
  get query() {
    return this.handle.query();
  }

  /** The client's address, without port. */
  get clientAddress() {
    return this.handle.clientAddress();
  }

  /**
   * The certificate that the peer showed, which one of the listener's authorities has signed, or
   * `undefined`: `subject` and `issuer` (by RFC 4514), `sha256` (in upper-case hexadecimal), and
   * `alternativeNames` with lists `dns`, `uri`, `email` and `ip`.
   */
  get clientCertificate() {
    return this.handle.clientCertificate();
  }

  /** Changes what the router is going to see: `authority`, `path` (with query), `upstream`. */
  reroute({ authority, path, upstream }) {
    ask('reroute', () => this.handle.reroute(authority, path, upstream));
  }
}

/** The response, as the hooks before this one left it. */
export class Response extends Head {
  get status() {
    return this.handle.status();
  }

  set status(status) {
    ask('status', () => this.handle.setStatus(status));
  }

  /** A field of the request as it went to the upstream; needs `static requestHead = true`. */
  requestHeader(name) {
    return this.handle.requestHeader(name);
  }

  get requestMethod() {
    return this.handle.requestMethod();
  }

  get requestPath() {
    return this.handle.requestPath();
  }
}

/** A piece of a body, of 64 KiB at most. */
export class Chunk {
  constructor(handle) {
    this.handle = handle;
  }

  /** Its bytes. */
  data() {
    return this.handle.data();
  }

  get length() {
    return this.handle.len();
  }

  /** Whether nothing comes behind it but trailers. */
  get isLast() {
    return this.handle.isLast();
  }

  /** Adds to what goes on instead of it, before what the hook returns. */
  write(bytes) {
    ask('write', () => this.handle.write(encode(bytes)));
  }

  /** The trailers behind the last piece: [name, value as text]. */
  trailers() {
    return this.handle.trailers().map(([name, value]) => [name, decode(value)]);
  }

  setTrailer(name, value) {
    ask(name, () => this.handle.setTrailer(name, valueOf(name, value)));
  }

  removeTrailer(name) {
    ask(name, () => this.handle.removeTrailer(name));
  }
}

function attribute(value) {
  if (Array.isArray(value)) return { tag: 'texts', val: value.map(String) };
  switch (typeof value) {
    case 'boolean':
      return { tag: 'boolean', val: value };
    case 'bigint':
      return { tag: 'integer', val: value };
    case 'number':
      return Number.isSafeInteger(value)
        ? { tag: 'integer', val: BigInt(value) }
        : { tag: 'float', val: value };
    default:
      return { tag: 'text', val: String(value) };
  }
}

const on = (target) => ({
  /** Sets an attribute: a text, a list of texts, a truth value or a number. */
  setAttribute(name, value) {
    host.span.setAttribute(target, name, attribute(value));
  },

  /** Adds an event with the present time. */
  addEvent(name, attributes = {}) {
    const all = Object.entries(attributes).map(([key, value]) => [key, attribute(value)]);
    host.span.addEvent(target, name, all);
  },
});

/** The span of the hook that is running, and, as `span.upstream`, that of the call to the upstream. */
export const span = {
  ...on('hook'),

  /** Marks the hook's span as failed, without failing the hook. */
  setError(message) {
    host.span.setError(String(message));
  },

  upstream: {
    ...on('upstream'),

    /** Says what the call to the upstream is: `http` or `llm`, and the name of its span. */
    describe(kind, name) {
      host.span.describeCall(kind, name);
    },

    /** Marks the call's span as failed, for an error that its status does not tell. */
    setError(message) {
      host.span.setCallError(String(message));
    },
  },
};

/** Lines in Weir's log and in the trace. */
export const log = Object.fromEntries(
  ['trace', 'debug', 'info', 'warn', 'error'].map((level) => [
    level,
    (message) => host.log.write(level, String(message)),
  ]),
);

/** The exchange a hook works on. */
export const exchange = {
  requestId: () => host.exchange.requestId(),
  setRequestId: (id) => host.exchange.setRequestId(id),
  /** What an earlier hook of this plugin left, in the same exchange. */
  get: (key) => host.exchange.get(key),
  /** Leaves a text for this plugin's later hooks of the exchange. */
  set: (key, value) => host.exchange.set(key, text(value)),
};

/**
 * Values that all instances of the plugin share, on all workers; bytes, each with a time to live. Kept
 * in Redis, each function may throw `Refused` with the reason `unavailable`.
 */
export const kv = {
  /** Bytes, or `undefined`. */
  get: (key) => ask(key, () => host.kv.get(key)),
  /** The same as text. */
  getText(key) {
    const value = kv.get(key);
    return value === undefined ? undefined : decode(value);
  },
  set: (key, value, ttlMs = 0) => ask(key, () => host.kv.set(key, encode(value), BigInt(ttlMs))),
  /** Whether there was one. */
  delete: (key) => ask(key, () => host.kv.delete(key)),
  /** Adds to a number, atomically, and gives the sum. */
  add: (key, delta, ttlMs = 0) =>
    Number(ask(key, () => host.kv.add(key, BigInt(delta), BigInt(ttlMs)))),
  /** Sets a value where the present one is the expected one (`undefined`: where there is none). */
  compareAndSet(key, expected, value, ttlMs = 0) {
    const bytes = expected === undefined ? undefined : encode(expected);
    return ask(key, () => host.kv.compareAndSet(key, bytes, encode(value), BigInt(ttlMs)));
  },
};

/** What an upstream replied, whole. */
class Reply {
  constructor(handle) {
    this.handle = handle;
  }

  get status() {
    return this.handle.status();
  }

  header(name) {
    return this.handle.header(name);
  }

  headers() {
    return this.handle.headers().map(([name, value]) => [name, decode(value)]);
  }

  body() {
    return this.handle.body();
  }

  text() {
    return decode(this.body());
  }

  json() {
    return JSON.parse(this.text());
  }
}

/** Calls of the plugin's own to upstreams that the operator lets it call. They look blocking. */
export const http = {
  mayCall: (upstream) => host.httpClient.mayCall(upstream),

  /** Throws `Refused` where there is no reply, with `reason` as in the WIT. */
  send(upstream, { method = 'GET', path = '/', headers = {}, body = '', timeoutMs = 0 } = {}) {
    const send = () =>
      host.httpClient.send(upstream, method, path, fields(headers), encode(body), timeoutMs);
    return new Reply(ask(upstream, send));
  },
};

/** Numbers of the plugin's own, on Weir's `/metrics`. Define them in the constructor. */
export const metrics = {
  counter(name, help, labels = []) {
    const id = ask(name, () => host.metrics.counter(name, help, labels));
    return { add: (value = 1, ...values) => host.metrics.add(id, values, value) };
  },

  gauge(name, help, labels = []) {
    const id = ask(name, () => host.metrics.gauge(name, help, labels));
    return {
      add: (value, ...values) => host.metrics.add(id, values, value),
      set: (value, ...values) => host.metrics.set(id, values, value),
    };
  },

  histogram(name, help, bounds, labels = []) {
    const id = ask(name, () => host.metrics.histogram(name, help, labels, bounds));
    return { observe: (value, ...values) => host.metrics.add(id, values, value) };
  },
};

const HASHES = ['sha256', 'sha384', 'sha512'];

function known(hash) {
  if (HASHES.includes(hash)) return hash;
  throw new RangeError(`${hash}: no hash of the host's; there are ${HASHES.join(', ')}`);
}

/** Cryptography by the host. Data are texts or bytes. */
export const crypto = {
  /** `hash`: `sha256`, `sha384` or `sha512`. */
  digest: (hash, data) => host.crypto.digest(known(hash), encode(data)),
  hmac: (hash, key, data) => host.crypto.hmac(known(hash), encode(key), encode(data)),
  /** `key`: `{ tag: 'spki' | 'point', val: bytes }` or `{ tag: 'rsa', val: { n, e } }`. */
  verify: (algorithm, key, message, signature) =>
    host.crypto.verify(algorithm, key, encode(message), signature),
  /** In a time that tells only the lengths. */
  equal: (one, other) => host.crypto.equal(encode(one), encode(other)),
};

/** Time. `Date` and `performance` tell the same. */
export const clock = {
  /** Milliseconds since the Unix epoch. */
  now: () => Number(host.clock.now() / 1000000n),
  /** Nanoseconds from an arbitrary origin, never going back: a BigInt. */
  monotonic: () => host.clock.monotonic(),
};

/** Random numbers, fit for keys. `Math.random` and `crypto.getRandomValues` are made of them. */
export const random = {
  /** A BigInt of 64 bits. */
  next: () => host.random.next(),
  bytes: (count) => host.random.bytes(count),
  /** From 0 to below 1. */
  fraction: () => Number(host.random.next() >> 11n) / 2 ** 53,
};

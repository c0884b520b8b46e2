// A fake host: runs a plugin's hooks in Node, without Weir and without WebAssembly.
//
// In the plugin's own tests (`node --test`):
//
//   import { run } from '../sdk/testing.js';
//   const seen = run(Tenants, { config, request: { url: '/x', headers: { 'x-tenant': 'acme' } } });
//   assert.equal(seen.action, 'continue');
//
// `weir plugin test` runs the cases of `cases.yaml` by it too: it pipes them to this file as JSON, and
// compares what comes back.

import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

import { bind, interests, told } from './bind.js';
import { Answer, decode, encode, useHost } from './weir.js';

const FORBIDDEN = new Set([
  'host', 'content-length', 'transfer-encoding', 'connection', 'keep-alive', 'proxy-connection',
  'te', 'trailer', 'upgrade',
]);
const MOST_FIELDS = 256;
/** Pieces of an answer that are asked for: one may never end. */
const MOST_PIECES = 1000;
/** What tells of the very bytes of a body. */
const OF_THE_BODY = new Set([
  'content-encoding', 'content-digest', 'repr-digest', 'digest', 'content-md5',
]);
/** As a plugin's clock in every test: 2026-01-01. */
const NOW = 1767225600000;

const refuse = (payload) => {
  throw Object.assign(new Error(`refused: ${JSON.stringify(payload)}`), { payload });
};

function checkField(name, value) {
  const lower = name.toLowerCase();
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(lower)) {
    refuse({ tag: lower.startsWith(':') ? 'forbidden' : 'invalid-name' });
  }
  if (FORBIDDEN.has(lower)) refuse({ tag: 'forbidden' });
  // eslint-disable-next-line no-control-regex
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(value)) refuse({ tag: 'invalid-value' });
  return lower;
}

const checkStatus = (status) => {
  if (!(status >= 200 && status <= 599)) refuse({ tag: 'invalid-status' });
};

/** Fields as [name, text]; values of an object may be lists. */
function lines(headers = {}) {
  if (Array.isArray(headers)) return headers.map(([name, value]) => [name.toLowerCase(), value]);
  return Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map((value) => [name.toLowerCase(), String(value)]),
  );
}

const join = (pieces) => new Uint8Array(Buffer.concat(pieces));

class FakeHead {
  constructor(fields, body, wanted) {
    this.fields = fields;
    // As it comes: a list is of its pieces.
    this.pieces = [body ?? ''].flat().map(encode);
    this.bytes = join(this.pieces);
    this.wanted = wanted;
    this.answer = undefined;
    this.skips = false;
    this.touched = new Set();
    this.replaced = false;
  }

  /** A hook has ended: what told of a body that it replaced is put right, but for what it has set itself. */
  settle() {
    if (this.replaced) {
      const gone = (name) => OF_THE_BODY.has(name) && !this.touched.has(name);
      this.fields = this.fields.filter(([name]) => !gone(name));
    }
    this.touched.clear();
    this.replaced = false;
  }

  header(name) {
    return this.fields.find(([key]) => key === name.toLowerCase())?.[1];
  }

  headerValues(name) {
    const all = this.fields.filter(([key]) => key === name.toLowerCase());
    return all.map(([, value]) => encode(value));
  }

  headers() {
    return this.fields.map(([name, value]) => [name, encode(value)]);
  }

  setHeader(name, value) {
    const key = checkField(name, value);
    const others = this.fields.filter(([other]) => other !== key);
    if (others.length >= MOST_FIELDS) refuse({ tag: 'too-large' });
    this.touched.add(key);
    this.fields = [...others, [key, value]];
  }

  addHeader(name, value) {
    const key = checkField(name, value);
    if (this.fields.length >= MOST_FIELDS) refuse({ tag: 'too-large' });
    this.touched.add(key);
    this.fields.push([key, value]);
  }

  removeHeader(name) {
    const key = checkField(name, '');
    this.fields = this.fields.filter(([other]) => other !== key);
  }

  body() {
    if (this.wanted?.tag !== 'buffer') refuse('not-buffered');
    if (BigInt(this.bytes.length) > this.wanted.val) refuse('too-large');
    return this.bytes;
  }

  setBody(body) {
    this.body();
    this.bytes = body;
    this.replaced = true;
  }

  skipBody() {
    this.skips = true;
  }

  respond(status, fields, body) {
    checkStatus(status);
    for (const [name, value] of fields) checkField(name, decode(value));
    this.streamed = false;
    this.answer = { status, headers: fields.map(([name, value]) => [name, decode(value)]), body };
  }

  respondStreamed(status, fields) {
    this.respond(status, fields, encode(''));
    this.streamed = true;
  }
}

/** A certificate as Weir gives it; one of a case has the names of `cases.yaml`. */
function certificate(shown) {
  if (!shown) return undefined;
  const { subject = '', issuer = '', sha256 = '' } = shown;
  const names = shown.alternativeNames ?? shown.alternative_names ?? {};
  const { dns = [], uri = [], email = [], ip = [] } = names;
  return { subject, issuer, sha256, alternativeNames: { dns, uri, email, ip } };
}

class FakeRequest extends FakeHead {
  constructor(request, wanted) {
    const url = new URL(request.url ?? '/', 'http://example.com');
    super(lines(request.headers), request.body, wanted);
    this.parts = {
      method: request.method ?? 'GET',
      scheme: url.protocol.slice(0, -1),
      authority: url.host,
      path: url.pathname,
      query: url.search ? url.search.slice(1) : undefined,
    };
    this.certificate = certificate(request.clientCertificate ?? request.client_certificate);
    this.upstream = undefined;
    this.routed = false;
  }

  method() {
    return this.parts.method;
  }

  scheme() {
    return this.parts.scheme;
  }

  authority() {
    return this.parts.authority;
  }

  path() {
    return this.parts.path;
  }

  query() {
    return this.parts.query;
  }

  clientAddress() {
    return '192.0.2.1';
  }

  clientCertificate() {
    return this.certificate;
  }

  reroute(authority, pathAndQuery, upstream) {
    if (this.routed) refuse({ tag: 'too-late' });
    if (authority !== undefined) this.parts.authority = authority;
    if (pathAndQuery !== undefined) {
      if (!pathAndQuery.startsWith('/')) refuse({ tag: 'invalid', val: 'no path' });
      const [path, ...query] = pathAndQuery.split('?');
      this.parts.path = path;
      this.parts.query = query.length ? query.join('?') : undefined;
    }
    if (upstream !== undefined) this.upstream = upstream;
  }

  url() {
    const { scheme, authority, path, query } = this.parts;
    return `${scheme}://${authority}${path}${query === undefined ? '' : `?${query}`}`;
  }
}

class FakeResponse extends FakeHead {
  constructor(response, wanted, request, hasHead) {
    super(lines(response.headers), response.body, wanted);
    this.code = response.status ?? 200;
    this.request = request;
    this.hasHead = hasHead;
  }

  settle() {
    if (this.replaced) {
      const gone = (name) => name === 'accept-ranges' && !this.touched.has(name);
      this.fields = this.fields.filter(([name]) => !gone(name));
      for (const field of this.fields) {
        const isTag = field[0] === 'etag' && !this.touched.has('etag');
        if (isTag && !field[1].startsWith('W/')) field[1] = `W/${field[1]}`;
      }
    }
    super.settle();
  }

  status() {
    return this.code;
  }

  setStatus(status) {
    checkStatus(status);
    this.code = status;
  }

  requestHeader(name) {
    if (!this.hasHead) throw new Error('requestHeader needs `static requestHead = true`');
    return this.request.header(name);
  }

  requestMethod() {
    return this.request.method();
  }

  requestPath() {
    return this.request.path();
  }
}

class FakeChunk {
  constructor(bytes, isLast) {
    this.bytes = bytes;
    this.last = isLast;
    this.out = [];
    this.answer = undefined;
    this.streamed = false;
  }

  data() {
    return this.bytes;
  }

  len() {
    return this.bytes.length;
  }

  isLast() {
    return this.last;
  }

  write(bytes) {
    this.out.push(bytes);
  }

  trailers() {
    return [];
  }

  setTrailer() {}

  removeTrailer() {}

  respond(status, fields, body) {
    FakeHead.prototype.respond.call(this, status, fields, body);
  }

  respondStreamed(status, fields) {
    FakeHead.prototype.respondStreamed.call(this, status, fields);
  }
}

/** All that a plugin can ask for, and what it did. */
function fakeHost(calls, seen, values, start) {
  const kept = new Map();
  let metrics = 0;
  let ticks = 0n;
  let place = 'request';
  const spanOf = (target) => {
    const key = target === 'upstream' ? 'upstream' : place;
    seen.spans[key] ??= {};
    return seen.spans[key];
  };
  const text = (key) => (values.has(key) ? decode(values.get(key)) : undefined);
  const fits = (call, upstream, method, path) =>
    call.upstream === upstream &&
    (call.method ?? method) === method &&
    (call.path ?? path) === path;
  const host = {
    clock: { now: () => start + ticks, monotonic: () => (ticks += 1000n) },
    random: {
      next: () => randomBytes(8).readBigUInt64LE(),
      bytes: (count) => new Uint8Array(randomBytes(Math.min(count, 4096))),
    },
    exchange: {
      requestId: () => seen.requestId ?? 'made-by-weir',
      setRequestId: (id) => (seen.requestId = id),
      get: (key) => kept.get(key),
      set: (key, value) => void kept.set(key, value),
    },
    span: {
      setAttribute(target, name, value) {
        if (name.startsWith('weir.')) return;
        spanOf(target)[name] = typeof value.val === 'bigint' ? Number(value.val) : value.val;
      },
      addEvent: (target) => void spanOf(target),
      setError: (message) => (spanOf('hook')['error.message'] = message),
      describeCall() {},
      setCallError: (message) => (spanOf('upstream')['error.message'] = message),
    },
    log: {
      write: (level, message) => void seen.logs.push(message),
      panicked: (message) => void (seen.failure = message),
    },
    kv: {
      get: (key) => values.get(key),
      set: (key, value) => void values.set(key, value),
      delete: (key) => values.delete(key),
      add(key, delta) {
        const sum = BigInt(text(key) ?? '0') + delta;
        values.set(key, encode(String(sum)));
        return sum;
      },
      compareAndSet(key, expected, value) {
        if (text(key) !== (expected === undefined ? undefined : decode(expected))) return false;
        values.set(key, value);
        return true;
      },
    },
    httpClient: {
      mayCall: (upstream) => calls.some((call) => call.upstream === upstream),
      send(upstream, method, path, fields, body) {
        if (!host.httpClient.mayCall(upstream)) refuse('not-allowed');
        seen.calls.push(`${method} ${upstream} ${path}`);
        const call = calls.find((one) => fits(one, upstream, method, path));
        if (!call) refuse('connect');
        if (call.error) refuse(call.error.replace('_', '-'));
        const reply = typeof call.reply === 'function' ? call.reply({ method, path, body }) : call.reply;
        const handle = new FakeHead(lines(reply.headers), reply.body, { tag: 'buffer', val: 1n << 40n });
        handle.status = () => reply.status ?? 200;
        return handle;
      },
    },
    metrics: {
      counter: () => metrics++,
      gauge: () => metrics++,
      histogram: () => metrics++,
      add() {},
      set() {},
    },
    crypto: {
      digest: (hash, data) => new Uint8Array(createHash(hash).update(data).digest()),
      hmac: (hash, key, data) => new Uint8Array(createHmac(hash, key).update(data).digest()),
      verify() {
        throw new Error('crypto.verify is of Weir alone: write `native: false` beside such a case');
      },
      equal: (one, other) => one.length === other.length && timingSafeEqual(one, other),
    },
  };
  return { host, at: (hook) => (spanOf('hook'), (place = hook), void (seen.spans[hook] ??= {})) };
}

/**
 * Runs an exchange through a plugin: `config`, `request` (method, url, headers, body, clientCertificate),
 * `response` (status, headers, body: the upstream's) and `calls` (what upstreams reply to calls of its
 * own). A body that is a list comes in these pieces. `kv`, a `Map` that several runs may share, has the
 * values of earlier exchanges (as bytes); `now` is when this one begins, in milliseconds. Gives what a case
 * can speak of: `action`, `request`, `upstream`, `response`, `spans`, `logs`, `calls`, `failure` and
 * `refused`.
 */
export function run(
  Plugin,
  { config = {}, request = {}, response = {}, calls = [], kv = new Map(), now = NOW } = {},
) {
  const seen = { action: 'continue', spans: {}, logs: [], calls: [] };
  const { host, at } = fakeHost(calls, seen, kv, BigInt(now) * 1000000n);
  useHost(host);
  const bound = bind(Plugin);
  let wanted;
  try {
    wanted = bound.configure(JSON.stringify(config ?? {}));
  } catch (reason) {
    seen.refused = typeof reason === 'string' ? reason : told(reason);
    return seen;
  }
  seen.spans = {};
  const head = new FakeRequest(request, wanted.requestBody);
  const stream = (handle, hook, answered) => {
    if (handle.skips || handle.bytes.length === 0 || handle.wanted.tag !== 'stream') return;
    const out = [];
    for (const [index, piece] of handle.pieces.entries()) {
      const chunk = new FakeChunk(piece, index === handle.pieces.length - 1);
      const flow = bound[hook](chunk);
      if (flow === 'abort') throw new Error('the body was broken off');
      if (flow === 'respond') {
        if (chunk.streamed) pieces(chunk.answer);
        return answered(chunk.answer);
      }
      out.push(...(flow === 'replace' ? chunk.out : [piece]));
    }
    handle.bytes = join(out);
  };
  const pieces = (answer) => {
    if (head.method() === 'HEAD' || answer.status === 204 || answer.status === 304) return;
    const out = [];
    for (let asked = 0; asked < MOST_PIECES; asked++) {
      const chunk = new FakeChunk(encode(''), true);
      const flow = bound.onAnswerBody(chunk);
      if (flow === 'pass') break;
      if (flow !== 'replace') throw new Error('the body was broken off');
      out.push(...chunk.out);
    }
    answer.body = join(out);
  };
  const call = (hook, place, handle) => {
    seen.spans[place] = {};
    at(place);
    const action = bound[hook](handle);
    handle.settle();
    if (action !== 'respond') return undefined;
    if (handle.streamed) pieces(handle.answer);
    return handle.answer;
  };
  try {
    let answer;
    if (wanted.hooks.preRequest) answer = call('onPreRequest', 'pre_request', head);
    head.routed = true;
    const streamsRequest = wanted.requestBody.tag === 'stream';
    if (!answer && wanted.hooks.request) answer = call('onRequest', 'request', head);
    if (!answer && streamsRequest) {
      at('request');
      stream(head, 'onRequestBody', (given) => (answer = given));
    }
    if (answer) seen.action = 'respond';
    else if (head.upstream !== undefined) seen.action = 'reroute';
    const back = new FakeResponse(answer ?? response, wanted.responseBody, head, wanted.requestHead);
    let replaced;
    if (wanted.hooks.response) replaced = call('onResponse', 'response', back);
    if (!replaced && wanted.responseBody.tag === 'stream') {
      at('response');
      stream(back, 'onResponseBody', () => {});
    }
    seen.request = { url: head.url(), headers: head.fields, body: decode(head.bytes) };
    seen.upstream = head.upstream;
    seen.response = replaced
      ? { ...replaced, body: decode(replaced.body) }
      : { status: back.code, headers: back.fields, body: decode(back.bytes) };
  } catch (error) {
    seen.failure ??= told(error);
    seen.action = 'fail';
    seen.response = { status: 500, headers: [], body: '' };
  }
  return seen;
}

export { Answer, interests };

/** Run as a program: the cases as JSON come in, what was seen goes out. */
if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  const cases = JSON.parse(readFileSync(0, 'utf8'));
  await import('./globals.js');
  const { default: Plugin } = await import('../src/plugin.js');
  const observed = cases.map((one) => run(Plugin, one));
  process.stdout.write(`\n${JSON.stringify(observed)}\n`);
}

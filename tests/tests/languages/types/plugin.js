// Type-checks only where every right call is taken, and each mistake that is marked is told.

import {
  ABORT, Answer, DROP, Refused, STREAMED, base64, clock, crypto, decode, encode, exchange, hex, http, kv, log,
  metrics, random, span,
} from '../sdk/weir.js';
import { run } from '../sdk/testing.js';

/** @import { Chunk, Plugin, Request, Response } from '../sdk/weir.js' */

/** @implements {Plugin} */
export default class Every {
  static configSchema = { type: 'object' };
  static requestBody = { buffer: 65536 };
  static requestHead = true;
  static decoded = true;

  /** @param {{ limit: number }} config */
  constructor({ limit }) {
    if (!http.mayCall('keys')) throw new Error('upstreams: name `keys`');
    this.limit = limit;
    this.all = metrics.counter('all', 'Requests.');
    this.seen = metrics.counter('seen', 'Requests.', ['tenant', 'route']);
    this.open = metrics.gauge('open', 'Requests under way.');
    this.took = metrics.histogram('took', 'Seconds.', [0.1, 1], ['tenant']);
  }

  /** @param {Request} request */
  onPreRequest(request) {
    const { dns = [] } = request.clientCertificate?.alternativeNames ?? {};
    if (dns.includes('a')) request.reroute({ upstream: 'a', path: `${request.path}?${request.query ?? ''}` });
    // @ts-expect-error It is `upstream`.
    request.reroute({ to: 'a' });
  }

  /** @param {Request} request */
  onRequest(request) {
    this.all.add();
    this.seen.add(1, 'acme', '/');
    this.open.set(1);
    this.took.observe(0.5, 'acme');
    // @ts-expect-error A label has no value.
    this.took.observe(0.5);

    request.setHeader('x-length', request.text().length);
    request.setBody(JSON.stringify({ at: clock.now(), from: clock.monotonic() + random.next() }));
    // @ts-expect-error There is no such method.
    request.headr('x-tenant');
    // @ts-expect-error There may be no such field.
    request.header('x-tenant').toLowerCase();
    // @ts-expect-error An object would be sent as `[object Object]`.
    request.setHeader('x-tenant', {});
    // @ts-expect-error A text is wanted.
    request.setHeader('x-tenant', request.header('x-other'));
    // @ts-expect-error It cannot be changed.
    request.method = 'GET';

    try {
      const headers = { accept: ['a', 'b'], 'x-number': 1 };
      const reply = http.send('keys', { method: 'POST', path: '/', headers, body: random.bytes(8), timeoutMs: 50 });
      if (reply.status >= 400) return new Answer(502, reply.headers(), reply.body());
      exchange.set('key', reply.json().key);
    } catch (error) {
      if (error instanceof Refused && error.reason === 'timeout') return new Answer(504);
      // @ts-expect-error It is `timeout`.
      if (error instanceof Refused && error.reason === 'timed-out') return new Answer(504);
      throw error;
    }
    // @ts-expect-error It is `timeoutMs`.
    http.send('keys', { timeout: 50 });

    const count = kv.add(request.clientAddress, 1, 60000);
    kv.compareAndSet('count', undefined, count);
    kv.set('digest', crypto.digest('sha256', kv.getText('count') ?? ''));
    // @ts-expect-error Is it to be `JSON.stringify`?
    kv.set('counts', { count });
    // @ts-expect-error There may be no value.
    decode(kv.get('count'));
    // @ts-expect-error The host has no such hash.
    crypto.digest('md5', '');
    const key = encode(exchange.get('key') ?? '');
    if (!crypto.verify('ed25519', { tag: 'point', val: key }, request.body(), key)) return new Answer(403);

    span.setAttribute('count', count);
    span.setAttribute('tenants', ['acme']);
    span.addEvent('counted', { count, by: hex(key) });
    span.upstream.describe('llm', 'chat');
    // @ts-expect-error An attribute is no object.
    span.setAttribute('count', { count });
    log.warn(base64(key));
    // What is JavaScript's own.
    console.log(new URL(`http://${request.authority}`).host, performance.now(), structuredClone(atob('')));
    if (count > this.limit) return new Answer(429, [['retry-after', 1]], STREAMED);
  }

  /** @param {Response} response */
  onResponse(response) {
    response.status = 203;
    if (response.requestHeader('accept') === undefined) response.skipBody();
  }

  /** @param {Chunk} chunk */
  onRequestBody(chunk) {
    chunk.write('{');
    if (chunk.isLast) return DROP;
    return chunk.length > 1024 ? new Answer(413) : chunk.data();
  }

  /** @param {Chunk} chunk */
  onResponseBody(chunk) {
    for (const [name] of chunk.trailers()) chunk.removeTrailer(name);
    return chunk.length === 0 ? undefined : ABORT;
  }

  /** @param {Chunk} chunk */
  onAnswerBody(chunk) {
    chunk.setTrailer('x-count', kv.getText('count') ?? 0);
  }
}

const seen = run(Every, {
  config: { limit: 1 },
  request: { url: '/x', headers: { accept: ['a', 'b'] }, body: ['on', 'e'] },
  calls: [{ upstream: 'keys', path: '/', reply: ({ body }) => ({ body }) }, { upstream: 'b', error: 'too_many' }],
  kv: new Map([['count', encode('1')]]),
  now: 0,
});
log.info([seen.response?.status, seen.spans.request?.count, seen.logs.length, seen.failure?.length]);
// @ts-expect-error It is `continue`.
if (seen.action === 'proceed') log.info('');
// @ts-expect-error It is `clientCertificate`.
run(Every, { request: { certificate: {} } });

/** @implements {Plugin} */
class Wrong {
  static responseBody = 65536;

  // @ts-expect-error Only an Answer of the SDK is taken.
  onRequest() {
    return { status: 403, headers: {}, body: '' };
  }

  // @ts-expect-error A hook cannot be async.
  async onResponse() {}

  // @ts-expect-error A response has begun: it cannot be answered.
  onResponseBody() {
    return new Answer(500);
  }
}
// @ts-expect-error It is `{ buffer: BYTES }`.
run(Wrong);

// @ts-expect-error The class has no hook.
run(class { fetch() {} });

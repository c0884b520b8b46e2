// What the module is made of: the plugin's class, bound to the host. Not for the plugin to import.
import * as clock from 'weir:plugin/clock@0.1.0';
import * as crypto from 'weir:plugin/crypto@0.1.0';
import * as exchange from 'weir:plugin/exchange@0.1.0';
import * as httpClient from 'weir:plugin/http-client@0.1.0';
import * as kv from 'weir:plugin/kv@0.1.0';
import * as log from 'weir:plugin/log@0.1.0';
import * as metrics from 'weir:plugin/metrics@0.1.0';
import * as random from 'weir:plugin/random@0.1.0';
import * as span from 'weir:plugin/span@0.1.0';

import './globals.js';
import Plugin from '../src/plugin.js';
import { bind } from './bind.js';
import { useHost } from './weir.js';

useHost({ clock, crypto, exchange, httpClient, kv, log, metrics, random, span });
const bound = bind(Plugin);

export const configure = bound.configure;
export const configSchema = bound.configSchema;
export const onPreRequest = bound.onPreRequest;
export const onRequest = bound.onRequest;
export const onResponse = bound.onResponse;
export const onRequestBody = bound.onRequestBody;
export const onResponseBody = bound.onResponseBody;
export const onAnswerBody = bound.onAnswerBody;

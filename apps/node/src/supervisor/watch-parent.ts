/**
 * Preloaded (`--import`) into the console's server: ends it when its supervisor is gone. Descriptor 3 is a pipe whose other end only the supervisor
 * holds, so its end is seen also after kill -9.
 */
import { Socket } from 'node:net';
import { EXIT_CODES } from '../replica/exit-codes.ts';

const pipe = new Socket({ fd: 3, readable: true, writable: false });
pipe.on('error', () => process.exit(EXIT_CODES.E_PARENT_GONE));
pipe.on('close', () => process.exit(EXIT_CODES.E_PARENT_GONE));
pipe.resume();
pipe.unref();

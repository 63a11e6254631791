/** The tRPC instance: context, roles, and the shape of errors. */
import { initTRPC } from '@trpc/server';
import { ZodError } from 'zod';
import { hasRole, type Principal, type Role } from '../transport/auth.ts';
import { apiError, ApiFault } from './errors.ts';
import type { ApiHost } from './host.ts';

export interface ApiContext {
  readonly host: ApiHost;
  readonly principal: Principal;
}

/** Ping of the event stream and the silence after which a browser reconnects, ms. */
export const STREAM = { pingMs: 1000, silenceMs: 3000 } as const;

const t = initTRPC.context<ApiContext>().create({
  sse: {
    ping: { enabled: true, intervalMs: STREAM.pingMs },
    client: { reconnectAfterInactivityMs: STREAM.silenceMs },
  },
  errorFormatter: ({ shape, error }) => {
    const { cause } = error;
    const { stack: _stack, ...data } = shape.data;
    if (cause instanceof ApiFault)
      return { ...shape, data: { ...data, chronon: cause.code as string, detail: cause.detail } };
    if (cause instanceof ZodError && error.code === 'BAD_REQUEST') {
      const detail = cause.issues.map(({ path, message }) => ({ path: path.join('.'), message }));
      const text = detail.map((issue) => `${issue.path || '(top)'}: ${issue.message}`).join('; ');
      return {
        ...shape,
        message: `E_INPUT: ${text}`,
        data: { ...data, chronon: 'E_INPUT', detail: detail as unknown },
      };
    }
    return { ...shape, data: { ...data, chronon: error.code as string, detail: null as unknown } };
  },
});

export const router = t.router;
export const createCallerFactory = t.createCallerFactory;

function procedureOf(role: Role) {
  return t.procedure.use(({ ctx, next }) => {
    if (!hasRole(ctx.principal, role))
      throw apiError('E_ROLE', `role ${role} is needed, this token has ${ctx.principal.role}`);
    return next();
  });
}

export const viewerProcedure = procedureOf('viewer');
export const operatorProcedure = procedureOf('operator');
export const chaosProcedure = procedureOf('chaos');
export const peerProcedure = procedureOf('peer');

// Explains to the operator why the server cannot listen.
import { listCauses } from '../drizzle/database.ts'

/** The server cannot listen at HOST and PORT. The message says why, and what to do. */
export class CannotListen extends Error {}

const reasons: Record<string, (host: string, port: number) => string> = {
  EADDRINUSE: (host, port) => `Port ${port} on ${host} is in use by another process. Set PORT to another one.`,
  EACCES: (host, port) => `Port ${port} on ${host} is reserved for privileged users. Set PORT to 1024 or more.`,
  EADDRNOTAVAIL: (host) => `Address ${host} does not belong to this machine. Set HOST to an address of this machine.`,
  ENOTFOUND: (host) => `Host name ${host} has no address. Set HOST to an address of this machine.`,
  EAI_AGAIN: (host) => `Host name ${host} cannot be looked up. Set HOST to an address of this machine.`,
}

/** Returns the error as a sentence for the operator, or the error itself where no reason is known. */
export function explainListenFailure(error: unknown, { HOST, PORT }: { HOST: string; PORT: number }): unknown {
  const reason = listCauses(error)
    .map(({ code }) => reasons[String(code)])
    .find((reason) => reason !== undefined)
  return reason ? new CannotListen(reason(HOST, PORT), { cause: error }) : error
}

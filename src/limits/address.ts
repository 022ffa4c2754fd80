// The address by which a client without a key is told apart.
import { isIP, isIPv4 } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Some proxies write the port behind the address: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
const WITH_PORT = /^(?:\[([^\]]+)\]|([\d.]+)):\d{1,5}$/

/** Half of an IPv6 address is its network; the rest is for whoever has it to choose, anew for every request if need be. */
const NETWORK_PARTS = 4

/**
 * The IPv4 address, or the /64 of the IPv6 address (`2001:db8:0:1::/64`), that a request comes from. `ip` may be what a proxy wrote: where
 * that is no address, it is the one of the connection, so that no text in a header makes another client.
 */
export function addressOf(ip: string, connection: string | undefined): string {
  const [, bracketed, dotted] = WITH_PORT.exec(ip) ?? []
  const address = [bracketed ?? dotted ?? ip, connection].find((text) => text !== undefined && isIP(text) !== 0)
  if (address === undefined) return 'unknown'
  if (isIPv4(address)) return address
  const parsed = ipaddr.process(address)
  if (!('parts' in parsed)) return parsed.toString()
  return `${parsed.parts
    .slice(0, NETWORK_PARTS)
    .map((part) => part.toString(16))
    .join(':')}::/64`
}

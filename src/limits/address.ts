// The address by which a client without a key is told apart.
import { isIP, isIPv4 } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Some proxies write the port behind the address: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
const WITH_PORT = /^(?:\[([^\]]+)\]|([\d.]+)):\d{1,5}$/

/** Parts of 16 bits that the network of an IPv6 client covers, and the bits of the last of them that count: 56 bits in all. */
const NETWORK_PARTS = 4
const LAST_PART_BITS = 0xff00

/**
 * Returns what a client is counted by: its IPv4 address, or the /56 of its IPv6 address (`2001:db8:0:100::/56`). A subscriber usually gets
 * a /56 and may use any address in it; a larger network would put up to 256 subscribers under one limit. `ip` may be what a proxy wrote:
 * where that is no address, the one of the connection counts, so no text in a header makes another client.
 */
export function addressOf(ip: string, connection: string | undefined): string {
  const [, bracketed, dotted] = WITH_PORT.exec(ip) ?? []
  const address = [bracketed ?? dotted ?? ip, connection].find((text) => text !== undefined && isIP(text) !== 0)
  if (address === undefined) return 'unknown'
  if (isIPv4(address)) return address
  const parsed = ipaddr.process(address)
  if (!('parts' in parsed)) return parsed.toString()
  const network = parsed.parts.slice(0, NETWORK_PARTS)
  network.push((network.pop() ?? 0) & LAST_PART_BITS)
  return `${network.map((part) => part.toString(16)).join(':')}::/56`
}

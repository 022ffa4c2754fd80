// Addresses: identifies clients without a key, and tests for trusted proxies.
import { BlockList, isIP, isIPv4 } from 'node:net'
import ipaddr from 'ipaddr.js'

/** An address with a port, as some proxies send it: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
const WITH_PORT = /^(?:\[([^\]]+)\]|([\d.]+)):\d{1,5}$/

/** The network of an IPv6 client has 56 bits: four parts of 16 bits, of which the last counts only its upper half. */
const NETWORK_PARTS = 4
const LAST_PART_BITS = 0xff00

/**
 * Returns the identity of a client for limits: its IPv4 address, or the /56 of its IPv6 address (`2001:db8:0:100::/56`). A subscriber usually
 * gets a /56 and may use any address in it. A larger network would put up to 256 subscribers under one limit. `ip` may come from a proxy's
 * header. If it is invalid, the address of the connection counts, so that no header text creates another client.
 */
export function identifyAddress(ip: string, connection: string | undefined): string {
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

/** Named networks in a list of proxies. */
const NAMED_NETWORKS: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
}

/** Parses an address (`10.0.0.1`) or a network (`10.0.0.0/8`); undefined for an invalid text. */
function parseNetwork(text: string): { address: string; bits: number; family: 'ipv4' | 'ipv6' } | undefined {
  const [address = '', bits, ...rest] = text.split('/')
  const maxBits = isIPv4(address) ? 32 : 128
  if (rest.length > 0 || isIP(address) === 0 || !/^\d{1,3}$/.test(bits ?? '0') || Number(bits ?? 0) > maxBits) return undefined
  return { address, bits: Number(bits ?? maxBits), family: isIPv4(address) ? 'ipv4' : 'ipv6' }
}

const splitList = (list: string) => list.split(',').map((item) => item.trim())

/** Whether a text is a comma-separated list of addresses, networks and named networks. */
export const isNetworkList = (list: string): boolean => splitList(list).every((item) => item in NAMED_NETWORKS || parseNetwork(item))

/** Creates a test for addresses from a list that `isNetworkList` accepts. An empty list matches no address. */
export function createNetworkTest(list: string): (address: string | undefined) => boolean {
  const networks = new BlockList()
  for (const item of splitList(list).flatMap((item) => NAMED_NETWORKS[item] ?? item)) {
    const network = parseNetwork(item)
    if (network) networks.addSubnet(network.address, network.bits, network.family)
  }
  return (address = '') => isIP(address) !== 0 && networks.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}

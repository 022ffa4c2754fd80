// Addresses of clients and of proxies: what a client without a key is counted by, and which proxies are trusted.
import { BlockList, isIP, isIPv4 } from 'node:net'
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

/** Names that stand for networks in a list of proxies. */
const NAMED_NETWORKS: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
}

/** Splits an address (`10.0.0.1`) or a network (`10.0.0.0/8`). Undefined for anything else. */
function parseNetwork(text: string): { address: string; bits: number; family: 'ipv4' | 'ipv6' } | undefined {
  const [address = '', bits, ...rest] = text.split('/')
  const most = isIPv4(address) ? 32 : 128
  if (rest.length > 0 || isIP(address) === 0 || !/^\d{1,3}$/.test(bits ?? '0') || Number(bits ?? 0) > most) return undefined
  return { address, bits: Number(bits ?? most), family: isIPv4(address) ? 'ipv4' : 'ipv6' }
}

const splitList = (list: string) => list.split(',').map((item) => item.trim())

/** Whether a text is a list of addresses, networks and names of networks, separated by commas. */
export const isNetworkList = (list: string): boolean => splitList(list).every((item) => item in NAMED_NETWORKS || parseNetwork(item))

/** Builds a test for addresses from such a list. An empty list has none. */
export function createNetworkTest(list: string): (address: string | undefined) => boolean {
  const networks = new BlockList()
  for (const item of splitList(list).flatMap((item) => NAMED_NETWORKS[item] ?? item)) {
    const network = parseNetwork(item)
    if (network) networks.addSubnet(network.address, network.bits, network.family)
  }
  return (address = '') => isIP(address) !== 0 && networks.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}

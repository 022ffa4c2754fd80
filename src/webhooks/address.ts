// Which addresses a webhook may be sent to. What a name stands for is asked again at every connection, and only what was looked at is used.
import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns'
import { promisify } from 'node:util'
import ipaddr from 'ipaddr.js'
import type { Fault } from '../errors.ts'

/** What an operator allows besides public addresses by https. */
export interface AddressPolicy {
  allowHttp: boolean
  allowPrivate: boolean
  /** Finds what names stand for; otherwise the system does. */
  resolve?: typeof dnsLookup | undefined
}

export class AddressRefused extends Error {}

/** The part of IPv6 that is given out (2000::/3). What lies in it and leads elsewhere has a range of its own. */
const GLOBAL_BITS = 0xe000
const GLOBAL = 0x2000

/** Of loopback, private, link-local, metadata, multicast, translated and reserved addresses none is. Throws for what is no address. */
export function isPublic(address: string): boolean {
  const parsed = ipaddr.process(address)
  if (parsed.range() !== 'unicast') return false
  return !('parts' in parsed) || ((parsed.parts[0] ?? 0) & GLOBAL_BITS) === GLOBAL
}

const stripBrackets = (hostname: string) => hostname.replace(/^\[(.*)\]$/, '$1')

/**
 * What is wrong with a URL, as far as it says so itself; `resolved` also asks what its name stands for. The URL Standard has already made
 * of `0x7f.1`, `017700000001` and `2130706433` the address that they are.
 */
export async function findUrlFaults(text: string, { allowHttp, allowPrivate, resolve = dnsLookup }: AddressPolicy): Promise<Fault[]> {
  const fault = (detail: string): Fault[] => [{ pointer: '/url', detail }]
  const url = URL.parse(text)
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) return fault('is no URL that begins with https://')
  if (url.protocol === 'http:' && !allowHttp) return fault('begins with http://: only https:// is sent to (WEBHOOK_ALLOW_HTTP)')
  if (url.username !== '' || url.password !== '') return fault('has a user or a password in it')
  if (url.hash !== '') return fault('has a fragment')
  if (allowPrivate) return []
  const host = stripBrackets(url.hostname)
  try {
    const addresses = ipaddr.isValid(host) ? [{ address: host }] : await promisify(resolve)(host, { all: true })
    return addresses.every(({ address }) => isPublic(address)) ? [] : fault('leads to an address that is not public')
  } catch {
    return fault('has a host that is not found')
  }
}

/** Throws AddressRefused where the URL has an address in it that must not be connected to: no name is looked up for it then. */
export function refusePrivateLiteral(url: URL, { allowPrivate }: AddressPolicy): void {
  const host = stripBrackets(url.hostname)
  if (!allowPrivate && ipaddr.isValid(host) && !isPublic(host)) throw new AddressRefused(`${host} is not a public address`)
}

type LookupCallback = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void

/** For `net.connect`: finds the addresses of a name, and refuses all where one must not be connected to. */
export const createGuardedLookup =
  ({ allowPrivate, resolve = dnsLookup }: AddressPolicy) =>
  (hostname: string, options: LookupOptions, found: LookupCallback): void => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return found(error, [])
      const refused = allowPrivate ? undefined : addresses.find(({ address }) => !isPublic(address))
      if (refused) return found(new AddressRefused(`${hostname} leads to ${refused.address}, which is not a public address`), [])
      if (options.all) return found(null, addresses)
      const [first] = addresses
      if (first) found(null, first.address, first.family)
      else found(new AddressRefused(`${hostname} has no address`), [])
    })
  }

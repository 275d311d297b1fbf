// What people do on the pages of the console. The test in Go gives an address and what has to be found there on standard input.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'

const want = JSON.parse(readFileSync(0, 'utf8'))
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const home = '/p/default/observability'
const problems = []
const check = (ok, what) => { if (!ok) { problems.push(what); console.log(`FAILED: ${what}`) } }

const context = await chromium.launchPersistentContext(want.profile, {
  executablePath: want.chromium, viewport: { width: 1440, height: 900 }, timezoneId: 'UTC', locale: 'en-GB', reducedMotion: 'reduce', acceptDownloads: true,
  // The policy of the pages stays as it is: axe is put in by the browser, not by the page.
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
context.setDefaultTimeout(60_000)
const page = context.pages()[0] ?? await context.newPage()
const spoken = []
page.on('console', (m) => { if (m.type() === 'error' && !/status of 4\d\d/.test(m.text())) spoken.push(`${page.url()}: ${m.text()}`) })
page.on('pageerror', (e) => spoken.push(`${page.url()}: ${e.message}`))
page.on('dialog', (d) => { spoken.push(`${page.url()}: a dialog: ${d.message()}`); void d.dismiss() })
page.on('request', (r) => check(r.url().startsWith(want.address) || r.url().startsWith('blob:') || r.url().startsWith('data:'), `asks elsewhere: ${r.url()}`))

const step = async (name, f) => {
  const began = Date.now()
  try {
    await f()
    console.log(`${name}: ${Date.now() - began} ms`)
  } catch (e) {
    problems.push(`${name}: ${e.message}`)
    console.log(`FAILED ${name}: ${e.message}`)
    await page.screenshot({ path: `${want.shots}/failed-${problems.length}.png` }).catch(() => undefined)
  }
}
const open = (path) => page.goto(want.address + path)
const settled = () => page.waitForFunction(() => document.querySelector('.loading') === null && document.querySelector('main')?.textContent.length > 20)
// The pages of the docs are light, and wide.
const shot = async (name) => (want.images && /-(dark|phone)$/.test(name)) || page.screenshot({ path: `${want.shots}/console-${name}.png` })

// accessible has axe look at the page, light and dark.
async function accessible(name) {
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme })
    await page.evaluate(axe) // by the debugger, past the policy
    const found = await page.evaluate(async () => (await globalThis.axe.run(document, { resultTypes: ['violations'] })).violations
      .filter((v) => v.impact === 'serious' || v.impact === 'critical')
      .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`))
    check(found.length === 0, `${name}, ${scheme}: ${found.join('\n')}`)
    if (scheme === 'dark') await shot(`${name}-dark`)
  }
  await page.emulateMedia({ colorScheme: 'light' })
}

await step('pipelines', async () => {
  await open('/')
  const row = page.getByRole('row', { name: /observability/ })
  await row.getByText('ready', { exact: true }).waitFor()
  await row.locator('td[data-label="Events in"]').filter({ hasText: /\d.*\/s/ }).waitFor()
  await row.locator('td[data-label="p99"]').filter({ hasText: /\d/ }).waitFor()
  await shot('pipelines')
  await accessible('pipelines')
  await row.getByRole('link', { name: 'default/observability' }).click()
})

await step('graph', async () => {
  await page.getByRole('button', { name: /validate/ }).first().waitFor()
  check(new URL(page.url()).pathname === home, `the link leads to ${page.url()}`)
  for (const stage of ['validate', 'enrich', 'correlate', 'analyze']) check(await page.locator(`button.stage:has-text("${stage}")`).count() > 0, `no stage ${stage}`)
  await page.locator('button.stage:has-text("p99")').first().filter({ hasText: /p50 [\d.]+ (µs|ms|s)/ }).waitFor()
  const edge = page.getByRole('button', { name: /from validate\/out to enrich/ })
  await edge.filter({ hasText: /lag/ }).waitFor()
  await edge.focus()
  await page.keyboard.press('Enter')
  await page.getByRole('region', { name: 'Selected' }).getByText('VALIDATED_EVENTS').waitFor()
  await page.locator('.chart canvas').first().waitFor()
  const shared = page.url()
  await page.reload()
  await page.getByRole('region', { name: 'Selected' }).getByText('VALIDATED_EVENTS').waitFor()
  check(page.url() === shared && shared.includes('sel='), `the address does not hold what is selected: ${shared}`)
  await page.waitForTimeout(4500) // two readings for the time line
  await shot('graph')
  await accessible('graph')
})

// All has come in once the last, hostile events have died.
await step('input', async () => {
  for (const end = Date.now() + 300_000; ;) {
    const { groups } = await (await page.request.get(`${want.address}/api/v1${home.replace('/p', '/pipelines')}/letters`)).json()
    if (groups.reduce((n, g) => n + g.count, 0) === want.dead) break
    if (Date.now() > end) throw new Error(`want ${want.dead} dead letters, got ${JSON.stringify(groups)}`)
    await page.waitForTimeout(500)
  }
})

let evidence = ''
await step('incidents', async () => {
  await page.getByRole('link', { name: 'Incidents' }).click()
  const list = page.getByRole('list', { name: 'Incidents' })
  await list.getByRole('link', { name: new RegExp(`${want.incident.name}.*${want.incident.second}`) }).first().click()
  const detail = page.getByRole('region', { name: 'Incident' })
  const cause = detail.locator('.fact', { hasText: 'Probable cause' })
  await cause.filter({ hasText: want.incident.cause }).waitFor()
  check(/0\.\d\d/.test(await detail.locator('.fact', { hasText: 'Confidence' }).innerText()), 'no confidence')
  check(await detail.locator('.evidence li').count() > 2, 'less than three links of evidence')
  check(new URL(page.url()).searchParams.get('id') !== null, 'the address does not hold the incident')
  await shot('incidents')
  await accessible('incidents')
  await detail.getByText('The raw event').click()
  await detail.locator('pre').filter({ hasText: want.incident.name }).waitFor()
  await page.getByLabel('Workload or entity').fill('no-such-workload')
  await page.keyboard.press('Enter')
  await page.getByText('No incidents').waitFor()
  await page.goBack()
  const link = detail.locator('.evidence a').first()
  await link.waitFor()
  evidence = new URL(await link.getAttribute('href'), want.address).searchParams.get('id')
  await link.click()
})

await step('event', async () => {
  const way = page.locator('.way')
  await way.locator('.step', { hasText: 'ingress' }).first().waitFor()
  check(new URL(page.url()).searchParams.get('id') === evidence, `the address does not hold the event: ${page.url()}`)
  for (const stage of ['validate', 'enrich', 'correlate', 'analyze']) check(await way.locator('.step > .steptop > b', { hasText: stage }).count() > 0, `${evidence} was not followed into ${stage}`)
  const enrich = way.locator('.step', { hasText: 'enrich' }).first()
  await enrich.getByText(/members? changed/).waitFor()
  await page.getByText('Incidents that name it').waitFor()
  await shot('event')
  await accessible('event')
  await page.getByLabel('Id', { exact: true }).fill('there-is-no-such-id')
  await page.keyboard.press('Enter')
  await page.getByText(/No stage knows this id|not found/i).first().waitFor()
  await open(`${home}/event`)
  await page.getByLabel('Entity').fill(want.incident.name)
  await page.keyboard.press('Enter')
  await page.getByRole('table').getByRole('row').nth(2).waitFor()
})

await step('tap', async () => {
  await page.getByRole('link', { name: 'Tap' }).click()
  await page.getByLabel('Port').selectOption('enrich/out')
  await page.getByLabel('Begin').selectOption('1h')
  const rows = page.getByRole('list', { name: /Events/ }).getByRole('listitem')
  await rows.nth(20).waitFor()
  await page.getByRole('button', { name: 'Pause' }).click()
  await page.getByText('paused').waitFor()
  await shot('tap')
  await accessible('tap')
  await page.getByRole('button', { name: 'Go on' }).click()
  await page.getByLabel('Filter (CEL)').fill('event.nothing == 1')
  await page.keyboard.press('Enter')
  await page.getByRole('alert').filter({ hasText: 'nothing' }).waitFor()
  await page.getByLabel('Filter (CEL)').fill('event.type == "test.hostile"')
  await page.keyboard.press('Enter')
  await rows.nth(2).waitFor()
  check(await rows.count() === 3, `the filter leaves ${await rows.count()} events, want 3`)
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download NDJSON' }).click()])
  const lines = readFileSync(await file.path(), 'utf8').trim().split('\n')
  check(lines.length === 3 && lines.every((l) => JSON.parse(l).id.startsWith('hostile-')), `downloaded ${lines.length} lines, want the 3 hostile events`)
})

await step('hostile text', async () => {
  const rows = page.getByRole('list', { name: /Events/ }).getByRole('listitem')
  const line = rows.filter({ hasText: 'onerror' })
  await line.getByRole('button').first().click()
  await line.locator('pre').filter({ hasText: '<script>' }).waitFor()
  const bidi = rows.filter({ hasText: 'invoice' })
  check((await bidi.innerText()).includes('U+202E'), 'the mark that turns text around cannot be seen')
  check(!/[\u202a-\u202e\u2066-\u2069\u200b]/.test(await bidi.evaluate((e) => e.textContent)), 'marks that cannot be seen reach the page')
  const large = rows.filter({ hasText: '0123456789abcdef' })
  check((await large.innerText()).length < 3000, 'a body of 900 KiB stands in the list')
  await large.getByRole('button').first().click()
  await large.getByText(/KiB/).waitFor()
  await large.getByRole('link', { name: /Follow/ }).click()
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: /Download the event/ }).first().click()])
  check(readFileSync(await file.path(), 'utf8').includes('0123456789abcdef'.repeat(1000)), 'the download is not the whole event')
  check(!(await page.title()).includes('owned'), 'markup of an event ran')
  check(await page.locator('main img, main script, main iframe').count() === 0, 'markup of an event became elements')
})

await step('dead letters', async () => {
  await page.getByRole('link', { name: 'Dead letters' }).click()
  await page.getByRole('link', { name: 'missing_attribute' }).first().click()
  check(new URL(page.url()).searchParams.get('reason') === 'missing_attribute', 'the address does not hold the reason')
  const list = page.locator('table.letters')
  const first = list.locator('tbody tr').filter({ hasText: 'type' }).first()
  await first.getByRole('link').click()
  const detail = page.getByRole('region', { name: 'Dead letter' })
  await detail.getByText('Received from').waitFor()
  await detail.locator('pre').filter({ hasText: '"' }).waitFor()
  await first.getByRole('checkbox').check()
  await page.getByText('The 1 dead letter you chose').waitFor()
  const go = page.getByRole('button', { name: /^Replay/ })
  check(await go.isDisabled(), 'replays without a dry run')
  await page.getByRole('button', { name: 'Dry run' }).click()
  await page.getByText('1 dead letter would be published').waitFor()
  await shot('letters')
  await accessible('letters')
  await page.getByRole('button', { name: 'Replay 1 dead letter' }).click()
  await page.getByRole('list', { name: 'Jobs' }).getByText('done').waitFor()
  // It is marked, and dies again: it still lacks what it lacked.
  await list.getByText('replayed', { exact: true }).first().waitFor()
  await page.locator('td[data-label="Replayed"]').filter({ hasText: '1' }).first().waitFor()
  // The same one is not replayed twice.
  const marked = list.locator('tbody tr').filter({ hasText: 'replayed' }).first()
  await marked.getByRole('checkbox').check()
  await page.getByRole('button', { name: 'Dry run' }).click()
  await page.getByText('1 replayed before').waitFor()
})

await step('purge', async () => {
  const letters = async () => (await (await page.request.get(`${want.address}/api/v1${home.replace('/p', '/pipelines')}/letters?limit=500`)).json()).letters.map((l) => l.sequence)
  const before = await letters()
  const limits = []
  page.on('request', (r) => { if (r.url().endsWith('/letters/purge') && !r.postDataJSON().dryRun) limits.push(r.postDataJSON().limit) })
  await open(`${home}/letters?reason=missing_attribute`)
  await page.locator('table.letters tbody tr').first().waitFor()
  await page.getByText('Remove for good').click()
  const panel = page.getByRole('region', { name: 'Remove for good' })
  const go = panel.getByRole('button', { name: /^Remove/ })
  check(await go.count() === 0, 'removes without a dry run')
  // The one that was replayed above, not the one that it became.
  await panel.getByLabel('only those that were replayed').check()
  await panel.getByRole('button', { name: 'Count what would go' }).click()
  await panel.getByText('1 dead letter would be removed').waitFor()
  check(await go.isDisabled(), 'removes without its number being typed')
  await panel.getByLabel('Type 1 to confirm').fill('2')
  check(await go.isDisabled(), 'removes when another number is typed')
  await page.keyboard.press('Enter')
  check((await letters()).length === before.length, 'a wrong number removes dead letters')
  await panel.getByLabel('Type 1 to confirm').fill('1')
  await shot('purge')
  await accessible('purge')
  await panel.getByLabel('only those that were replayed').uncheck()
  check(await go.count() === 0, 'a choice that nobody counted can be removed')
  await panel.getByLabel('only those that were replayed').check()
  await panel.getByLabel('Type 1 to confirm').fill('1')
  await page.keyboard.press('Enter')
  await panel.getByText('1 dead letter is gone').waitFor()
  await page.locator('.tag.replayed').first().waitFor({ state: 'detached' })
  // All of one reason, but for those that the lane needs.
  await panel.getByLabel('only those that were replayed').uncheck()
  await panel.getByRole('button', { name: 'Count what would go' }).click()
  const n = Number(/(\d+) dead letters? would be removed/.exec(await panel.getByText('would be removed').innerText())?.[1])
  check(n > 1, `${n} dead letters would be removed`)
  await panel.getByLabel(`Type ${n} to confirm`).fill(String(n))
  await go.click()
  await panel.getByText(`${n} dead letters are gone`).waitFor()
  check(limits.join() === `1,${n}`, `may remove ${limits} dead letters, want no more than were typed: 1,${n}`)
  const left = await letters()
  check(left.length === before.length - 1 - n, `${left.length} of ${before.length} dead letters are left, want ${1 + n} less`)
})

await step('hostile dead letters', async () => {
  await open(`${home}/letters?reason=undecodable`)
  const detail = page.getByRole('region', { name: 'Dead letter' })
  const list = page.locator('table.letters tbody tr')
  await list.first().waitFor()
  const { letters } = await (await page.request.get(`${want.address}/api/v1/pipelines/default/observability/letters`)).json()
  const largest = letters.reduce((a, b) => a.size > b.size ? a : b)
  check(largest.size > 1 << 20, `the largest dead letter has ${largest.size} bytes`)
  await open(`${home}/letters?letter=${largest.sequence}`)
  await detail.getByText('1 MiB').waitFor()
  check((await detail.locator('pre').innerText()).length < 30_000, 'a body of a MiB is shown whole')
  const [file] = await Promise.all([page.waitForEvent('download'), detail.getByRole('button', { name: 'Download the body' }).click()])
  check(readFileSync(await file.path()).length === largest.size, 'the download is not the whole body')
  const marked = letters.find((l) => l.eventId?.includes('<img'))
  check(marked !== undefined, 'the dead letter with markup is not listed')
  await open(`${home}/letters?letter=${marked?.sequence}`)
  await detail.locator('pre').filter({ hasText: '<script>' }).waitFor()
  check(!(await page.title()).includes('owned') && await page.locator('main img, main script').count() === 0, 'markup of a dead letter ran')
})

await step('phone', async () => {
  await page.setViewportSize({ width: 390, height: 844 })
  for (const [name, path] of [['pipelines', '/'], ['graph', home], ['incidents', `${home}/incidents`], ['event', `${home}/event?id=${encodeURIComponent(evidence)}`], ['tap', `${home}/tap?port=enrich/out&since=1h`], ['letters', `${home}/letters`]]) {
    await open(path)
    await settled()
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    check(wide <= 0, `${name} is ${wide} px wider than a phone`)
    if (name === 'incidents' || name === 'graph') await shot(`${name}-phone`)
  }
  await page.setViewportSize({ width: 1440, height: 900 })
})

await step('themes and keys', async () => {
  const theme = (name) => page.locator(`html[data-theme="${name}"]`).waitFor()
  await open('/')
  await page.getByRole('button', { name: /Theme/ }).click()
  await theme('light')
  await page.getByRole('button', { name: /Theme: light/ }).click()
  await theme('dark')
  await page.reload()
  await theme('dark') // it is remembered
  await page.getByRole('link', { name: 'default/observability' }).waitFor()
  await page.keyboard.press('Tab')
  check(await page.evaluate(() => document.activeElement?.textContent) === 'Skip to content', 'the first key does not lead to the content')
})

await step('a run that ends', async () => {
  const before = spoken.length
  await page.route('**/api/**', (r) => r.abort())
  await open(home)
  await page.getByText('the console does not answer').first().waitFor()
  await page.unroute('**/api/**')
  spoken.splice(before) // that nothing answers is what the browser complains of here
})

check(spoken.length === 0, `the browser complains: ${spoken.join('\n')}`)
await context.close()
if (problems.length > 0) {
  console.log(`\n${problems.length} problems:\n${problems.join('\n')}`)
  process.exit(1)
}

/**
 * Pins what must be equal on all replicas before anything else is loaded: zone and locale. Import it first.
 * (Applications cannot reach either inside `apply`; this is for everything that is printed.)
 */
process.env['TZ'] = 'UTC';
process.env['LANG'] = 'C';
process.env['LC_ALL'] = 'C';

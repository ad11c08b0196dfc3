const { API_URL = 'http://127.0.0.1:3000' } = process.env;

export default defineNuxtConfig({
  compatibilityDate: '2026-11-01',
  telemetry: false,
  // Browsers reach the API under the host of the pages, so that both get the cookies.
  routeRules: { '/api/**': { proxy: `${API_URL}/api/**` } },
});

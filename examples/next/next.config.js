const { API_URL = 'http://127.0.0.1:3000' } = process.env;

// Browsers reach the API under the host of the pages, so that both get the cookies.
export default {
  rewrites: () => [{ source: '/api/:path*', destination: `${API_URL}/api/:path*` }],
};

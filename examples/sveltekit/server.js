import express from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { handler } from './build/handler.js';

const { API_URL = 'http://127.0.0.1:3000', PORT = '4000' } = process.env;

const app = express();
// Browsers reach the API under the host of the pages, so that both get the cookies.
app.use(createProxyMiddleware({ target: API_URL, pathFilter: '/api' }));
app.use(handler);
app.listen(PORT, () => console.log(`http://localhost:${PORT}`));

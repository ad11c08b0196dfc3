import type { Contract } from '../http/contract.js';

/** The routes of `StreamsController`. The receivers of streams call them (SSF 1.0 and RFC 8936). */
export const STREAM_ROUTES = {
  read: {
    summary: 'Read the configuration of the stream',
    method: 'GET',
    path: 'streams/configuration',
    auth: 'event-receiver',
  },
  create: {
    summary: 'Refuse to create a stream: the application configures them',
    method: 'POST',
    path: 'streams/configuration',
    auth: 'event-receiver',
  },
  update: {
    summary: 'Refuse to update the stream',
    method: 'PATCH',
    path: 'streams/configuration',
    auth: 'event-receiver',
  },
  replace: {
    summary: 'Refuse to replace the stream',
    method: 'PUT',
    path: 'streams/configuration',
    auth: 'event-receiver',
  },
  remove: {
    summary: 'Refuse to delete the stream',
    method: 'DELETE',
    path: 'streams/configuration',
    auth: 'event-receiver',
  },
  status: { summary: 'Read the status of the stream', method: 'GET', path: 'streams/status', auth: 'event-receiver' },
  setStatus: {
    summary: 'Enable, pause or disable the stream',
    method: 'POST',
    path: 'streams/status',
    auth: 'event-receiver',
  },
  addSubject: {
    summary: 'Add a user to the stream',
    method: 'POST',
    path: 'streams/subjects/add',
    auth: 'event-receiver',
  },
  removeSubject: {
    summary: 'Remove a user from the stream',
    method: 'POST',
    path: 'streams/subjects/remove',
    auth: 'event-receiver',
  },
  verify: {
    summary: 'Ask for a verification event',
    method: 'POST',
    path: 'streams/verification',
    auth: 'event-receiver',
  },
  poll: {
    summary: 'Acknowledge events, and get the next ones (RFC 8936)',
    method: 'POST',
    path: 'streams/poll',
    auth: 'event-receiver',
  },
} as const satisfies Contract;

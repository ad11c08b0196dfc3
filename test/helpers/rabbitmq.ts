/** The URL of RabbitMQ. It must be available if `TEST_DATABASES` names a database with a server. */
export const RABBITMQ_URL = process.env.TEST_RABBITMQ_URL ?? 'amqp://guest:guest@127.0.0.1:5672';

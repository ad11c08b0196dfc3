import js from '@eslint/js';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

const nodeGlobals = Object.fromEntries(
  [
    'Buffer',
    'URL',
    'clearTimeout',
    'console',
    'fetch',
    'module',
    'performance',
    'process',
    'require',
    'setTimeout',
  ].map((name) => [name, 'readonly']),
);

export default tseslint.config(
  { ignores: ['dist/', 'client/dist/', 'dist-*/', 'docs/.vitepress/.temp/', 'coverage/', 'node_modules/'] },
  // If a rule is wrong, change it here, where everyone sees it. Inline comments cannot switch it off.
  { linterOptions: { noInlineConfig: true } },
  js.configs.recommended,
  { files: ['**/*.{js,mjs,cjs}'], languageOptions: { globals: nodeGlobals } },
  {
    files: ['sample-app/src/public/*.js'],
    languageOptions: { globals: { document: 'readonly', localStorage: 'readonly', window: 'readonly' } },
  },
  {
    // Each is an application of its own, whose framework brings globals. The rules do not see which components JSX uses.
    files: ['examples/**/*.js'],
    languageOptions: {
      globals: {
        ...Object.fromEntries(['document', 'location', 'FormData', 'Response'].map((name) => [name, 'readonly'])),
        ...Object.fromEntries(['defineEventHandler', 'defineNuxtConfig'].map((name) => [name, 'readonly'])),
      },
      parserOptions: { ecmaFeatures: { jsx: true } },
    },
    rules: { 'no-unused-vars': 'off' },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/ban-ts-comment': [
        'error',
        { 'ts-expect-error': true, 'ts-ignore': true, 'ts-nocheck': true },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
    },
  },
  { files: ['lib/**/*.ts', 'client/src/**/*.ts'], rules: { 'no-console': 'error' } },
  // The console is the only log that all frameworks have.
  { files: ['client/src/ssr/renewals.ts'], rules: { 'no-console': 'off' } },
  // Generated: see client/test/contract.spec.ts.
  { files: ['client/src/contract.ts'], rules: { '@typescript-eslint/no-empty-object-type': 'off' } },
  {
    // HTTP responses are untyped JSON. The matchers of each test check their shape.
    files: ['test/**/*.ts', 'bench/**/*.ts', 'client/test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
    },
  },
  {
    files: ['test/**', 'client/test/**'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'MemberExpression[object.name=/^(describe|it|test)$/] > Identifier[name=/^(failing|only|skip|todo)$/]',
          message: 'Do not skip tests: every test must run.',
        },
        {
          selector: 'CallExpression > Identifier.callee[name=/^(xdescribe|xit|xtest|fdescribe|fit)$/]',
          message: 'Do not skip tests: every test must run.',
        },
      ],
    },
  },
  {
    // Separate applications, whose dependencies are installed elsewhere. `npm run test:package` checks their types there.
    files: ['test/package/fixtures/**/*.ts'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { parserOptions: { projectService: false } },
  },
  prettier,
);

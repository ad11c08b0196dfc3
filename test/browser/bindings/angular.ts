/// <reference lib="dom" />
// The components of this application are compiled in the browser.
import '@angular/compiler';
import { HttpClient, provideHttpClient, withInterceptors } from '@angular/common/http';
import { Component, inject, provideZonelessChangeDetection, signal } from '@angular/core';
import { bootstrapApplication } from '@angular/platform-browser';
import { provideRouter, Router, RouterOutlet } from '@angular/router';
import {
  injectSession,
  provideSession,
  SESSION_CLIENT,
  sessionGuard,
  sessionInterceptor,
} from 'nestjs-multisession-client/angular';
import { firstValueFrom } from 'rxjs';
import { client, logIn } from './client.js';

class App {
  readonly session = injectSession();
  readonly answer = signal('');
  private readonly http = inject(HttpClient);
  private readonly router = inject(Router);
  private readonly client = inject(SESSION_CLIENT);

  logIn = () => logIn();
  logOut = () => this.client.logout();
  visit = () => this.router.navigateByUrl('/private');

  /** Sends a request with a body, so that a repetition would be seen. */
  async call(url: string): Promise<void> {
    try {
      this.answer.set(JSON.stringify(await firstValueFrom(this.http.get(url))));
    } catch (error) {
      this.answer.set(String((error as { status: number }).status));
    }
  }
}

Component({
  selector: 'app-root',
  imports: [RouterOutlet],
  template: `
    <output id="status">{{ session().status }}</output>
    <output id="answer">{{ answer() }}</output>
    <button id="log-in" (click)="logIn()">log in</button>
    <button id="log-out" (click)="logOut()">log out</button>
    <button id="visit" (click)="visit()">visit</button>
    <button id="call" (click)="call('/api/me')">call</button>
    <button id="call-elsewhere" (click)="call('https://elsewhere.test/')">call elsewhere</button>
    <router-outlet />
  `,
})(App);

class Page {}
Component({ selector: 'app-page', template: '' })(Page);

void bootstrapApplication(App, {
  providers: [
    provideZonelessChangeDetection(),
    provideSession(client),
    provideHttpClient(withInterceptors([sessionInterceptor])),
    provideRouter([
      { path: 'private', component: Page, canActivate: [sessionGuard()] },
      { path: '**', component: Page },
    ]),
  ],
});

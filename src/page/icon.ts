/** The logo: layers that are stowed. It looks the same on light and on dark. */
export const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="8" fill="#0d6e61"/>
<g fill="none" stroke="#fff" stroke-width="2.4" stroke-linejoin="round" stroke-linecap="round">
<path d="M16 6.5 26 11.5 16 16.5 6 11.5Z" fill="#fff"/>
<path d="m6 16.5 10 5 10-5" opacity=".85"/>
<path d="m6 21.5 10 5 10-5" opacity=".6"/>
</g>
</svg>
`;
